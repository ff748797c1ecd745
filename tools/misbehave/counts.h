#ifndef MISBEHAVE_COUNTS_H
#define MISBEHAVE_COUNTS_H

#include <stddef.h>
#include <stdint.h>

/* What reached the server. A client that the kernel turned away (refuse, blackhole) cannot be counted. */
struct counts {
    uint64_t accepted; /* connections */
    uint64_t requests; /* HTTP requests whose blank line came in; in reset and close: whose first bytes did */
    uint64_t bytes;    /* read from clients */
    uint64_t answered; /* whole answers handed to the kernel */
    uint64_t open;     /* connections now */
};

extern struct counts counts;

/* All but `open` start again from 0. */
void counts_reset(void);

/* The count called `name`, or NULL. */
const uint64_t *counts_find(const char *name);

/* A JSON object on one line, without the newline. */
void counts_print(char *buffer, size_t size);

#endif
