/* Circuits taken into one's own hands. */
#ifndef RESIL_STEER_H
#define RESIL_STEER_H

#include <stdbool.h>

#include "hosts.h"
#include "report/event.h"
#include "segments.h"

/* Does it, and leaves word of it in the flight recorder, where `resil log` finds it. */
void circuit_steer(struct segment *segment, struct host *host, enum steered action);

/* The place of a host under a rule without breaker is there for its counters only. */
bool circuit_is_missing(const struct segment_file *file, const struct host_view *host);

#endif
