#include "message.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

static const char *name = "resil";

static void *checked(void *memory);

void message_begin(const char *text)
{
    name = text;
}

void complain(const char *format, ...)
{
    va_list arguments;
    fflush(stdout); /* or the complaint comes before what it is about */
    flockfile(stderr);
    fprintf(stderr, "%s: ", name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    funlockfile(stderr);
}

void *allocate(size_t size)
{
    return checked(calloc(1, size));
}

void *grow(void *memory, size_t size)
{
    return checked(realloc(memory, size));
}

char *copy_of(const char *text)
{
    return checked(strdup(text));
}

char *formatted(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    return checked(text);
}

static void *checked(void *memory)
{
    if (!memory) {
        complain("out of memory");
        exit(STATUS_UNUSABLE);
    }
    return memory;
}
