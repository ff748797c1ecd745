/* What a circuit was like over time, as its events tell. */
#ifndef RESIL_TIMELINE_H
#define RESIL_TIMELINE_H

#include <stddef.h>
#include <stdint.h>

#include "history.h"
#include "hosts.h"

enum circuit_state {
    CIRCUIT_CLOSED,
    CIRCUIT_OPEN,
    CIRCUIT_HALF_OPEN,
    CIRCUIT_HELD_OPEN,
    CIRCUIT_HELD_CLOSED
};

struct span {
    enum circuit_state state;
    uint64_t from_ns, to_ns;
};

struct timeline {
    struct span *spans; /* one after the other, without gaps */
    size_t count;
};

/* From `from_ns` to `to_ns`. `moments` are the host's, in the order of time; how it was before the first of them that says
 * so is what that one makes likely. In the end the circuit is as `host` has it. */
struct timeline timeline_of(const struct host_view *host, const struct moment *const *moments, size_t count,
                            uint64_t from_ns, uint64_t to_ns);
void timeline_end(struct timeline *timeline);

enum circuit_state circuit_state_of(const struct host_view *host);
const char *circuit_state_name(enum circuit_state state); /* "half-open" */

#endif
