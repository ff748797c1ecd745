/* Programs that call a host that fails over and over without waiting longer each time: their own loops, seen from outside. */
#ifndef RESIL_LOOPS_H
#define RESIL_LOOPS_H

#include <stddef.h>
#include <stdint.h>

#include "history.h"

struct loop {
    char program[sizeof((struct event *)0)->program];
    char target[sizeof((struct event *)0)->target];
    const struct segment_file *file;
    uint64_t calls;  /* that failed, one after the other */
    uint64_t gap_ns; /* between two of them, typically */
    uint64_t took_ns;
    uint32_t runs; /* so many of them: processes, or pauses between */
};

struct loops {
    struct loop *loops; /* those with the most calls first */
    size_t count;
};

/* `moments` in the order of time, of all hosts. A loop is at least five calls of a process that failed, each at most a
 * second after the one before, whose pauses do not grow. */
struct loops loops_find(const struct moment *moments, size_t count);
void loops_end(struct loops *loops);

#endif
