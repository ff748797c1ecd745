/* The flight recorder: a ring of the last events of all processes, and the counter of each kind. */
#ifndef STATE_RECORDER_H
#define STATE_RECORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "report/event.h"
#include "state/segment.h"

/* Counts and records; fills in time (unless set), pid and program. Lock-free, async-signal-safe. */
void recorder_note(struct event *event);

/* The same event as a line in the log, where there is one. What is not written is counted. Async-signal-safe. */
void recorder_log(const struct event *event);

/* Event number `number` (from 0). False when it is not there (any more), or is being written. */
bool recorder_read(const struct segment *segment, uint64_t number, struct event *event);

#endif
