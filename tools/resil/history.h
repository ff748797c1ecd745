/* Events of all programs in one order, as the flight recorders of the segments keep them. */
#ifndef RESIL_HISTORY_H
#define RESIL_HISTORY_H

#include "report/event.h"
#include "segments.h"

struct moment {
    struct event event; /* its texts end and are printable */
    const struct segment_file *file;
    uint64_t number;
};

struct history {
    struct moment *moments;
    size_t count, room;
    uint64_t lost; /* came since the last time, and were overwritten before we looked */
};

/* Adds what every segment recorded since the last time, in the order of time. At the first time that is what the
 * recorders still hold, and nothing counts as lost. */
void history_read(struct history *history, const struct segments *segments);

void history_clear(struct history *history); /* keeps the memory */
void history_end(struct history *history);

#endif
