/* Where in programs faults have fired, as their segment says. */
#ifndef RESIL_FAULT_SITES_H
#define RESIL_FAULT_SITES_H

#include "state/segment.h"

struct fault_site_text {
    char text[64]; /* "libpq.so.5+0x1a2b3 (PQconnectPoll)"; empty = not known */
};

/* The slot of that fault (names in events are cut), NULL if there is none. */
const struct fault_slot *fault_slot_named(const struct segment *segment, const char *name);

/* Where the event happened. */
struct fault_site_text fault_site_of(const struct segment *segment, const struct event *event);

/* What a site says, printable. */
struct fault_site_text fault_site_text(const struct fault_site *site);

#endif
