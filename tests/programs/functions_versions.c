/* Asks each version of a function, and the one that the loader has chosen. */
#include <dlfcn.h>
#include <stdio.h>

#include "versions.h"

int versions_answer_before(void);
__asm__(".symver versions_answer_before, versions_answer@VERSION_1");

static void *library;

static int by_version(void)
{
    int (*function)(void) = (int (*)(void))dlvsym(library, "versions_answer", "VERSION_1");
    return function();
}

int main(void)
{
    library = dlopen("libversions.so", RTLD_NOW);
    if (!library)
        return 1;
    versions_fail();
    printf("%d ", versions_answer_before());
    versions_fail();
    printf("%d ", versions_answer());
    versions_fail();
    printf("%d ", versions_chosen());
    versions_fail();
    printf("%d\n", by_version());
    return 0;
}
