/* Rules with a ladder, as they are kept for calls that outlive the rule set they began under. A small copy, one for all
 * calls under the same rule, that is never given back. */
#ifndef STATE_LADDERS_H
#define STATE_LADDERS_H

#include "rules/rules.h"

struct kept_ladder {
    uint64_t key;     /* of all that it says */
    struct rule rule; /* without what it matches, and without origins */
    struct rule
        fallback; /* what its fallback hosts are called under: single attempts, and nothing to fall back to */
    struct ladder ladder; /* rule.policy.ladder */
    struct arena *arena;
};

/* NULL: the rule has none, or there is no memory. Async-signal-safe. */
const struct kept_ladder *ladder_keep(const struct rule *rule);

#endif
