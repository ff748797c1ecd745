#include "problem.h"

#include <stdarg.h>
#include <stdio.h>

void problem_say(struct problem *problem, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem->text, sizeof problem->text, format, arguments);
    va_end(arguments);
    /* It quotes what somebody sent, and has to be one line of text. */
    for (char *at = problem->text; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
}
