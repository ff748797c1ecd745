/* How one event is shown, and which are. */
#ifndef RESIL_MOMENT_H
#define RESIL_MOMENT_H

#include <stdbool.h>
#include <stdio.h>

#include "history.h"

/* What is asked for; zero: everything. */
struct filter {
    uint64_t kinds;      /* set of 1 << enum event_kind; 0: all */
    const char *host;    /* a host, with or without port, or a shell pattern */
    const char *program; /* the same of file names */
    uint64_t since_ns;   /* how long ago at most; 0: any time */
};
bool moment_passes(const struct moment *moment, const struct filter *filter, uint64_t now_ns);

/* CLOCK_REALTIME minus CLOCK_MONOTONIC: makes wall clock time of event times. */
int64_t moment_clock_difference_ns(void);

/* "2026-01-02 03:04:05.678 wget[4711] payments.internal:443: connect refused ..." */
void moment_print(const struct moment *moment, int64_t difference_ns, FILE *to);

/* The same as one line of JSON. */
void moment_print_json(const struct moment *moment, int64_t difference_ns, FILE *to);

#endif
