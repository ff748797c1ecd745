#include "counts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct counts counts;

void counts_reset(void)
{
    counts = (struct counts){.open = counts.open};
}

const uint64_t *counts_find(const char *name)
{
    static const struct {
        const char *name;
        const uint64_t *count;
    } rows[] = {
        {"accepted", &counts.accepted}, {"requests", &counts.requests}, {"bytes", &counts.bytes},
        {"answered", &counts.answered}, {"open", &counts.open},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].count;
    return NULL;
}

void counts_print(char *buffer, size_t size)
{
    snprintf(buffer, size,
             "{\"accepted\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"open\":%" PRIu64
             ",\"answered\":%" PRIu64 "}",
             counts.accepted, counts.requests, counts.bytes, counts.open, counts.answered);
}
