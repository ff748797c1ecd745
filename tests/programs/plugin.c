/* Loaded while the program runs; calls the library that is declared. */
#include "flaky.h"

int plugin_ask(int a, int b);
int plugin_ask(int a, int b)
{
    return flaky_ask(a, b);
}
