/* The last decision of each thread about a call under a rule with a ladder: what resil_last tells. */
#ifndef STATE_LAST_H
#define STATE_LAST_H

#include "state/ladders.h"

struct last {
    const struct kept_ladder *kept; /* NULL: there was none yet */
    uint32_t age_ms;
    int16_t error;
    uint8_t rung;       /* enum rung_kind */
    uint8_t number : 7; /* of the rule's, from 1 */
    uint8_t is_lookup : 1;
};
_Static_assert(sizeof(struct last) == 16, "thread-local storage is scarce");

/* `number`: from 0. `kept` may be NULL: there was no memory, and nothing is noted. */
void last_note(const struct kept_ladder *kept, enum rung_kind rung, uint32_t number, int error);
void last_note_lookup(const struct kept_ladder *kept, enum rung_kind rung, uint32_t number, int eai,
                      uint64_t age_ns);

struct last last_decision(void);

#endif
