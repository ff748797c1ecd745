/* The targets that a rule set was asked about of late, and the answers: programs connect to the same few ones over and over. Only
 * targets without a name, as those that have one have been looked up just before. Kept with the rules, so they go together. */
#ifndef STATE_RECENT_H
#define STATE_RECENT_H

#include "state/breakers.h"

/* The rule for that target, and its place among the hosts; NULL: it is to be looked for. */
const struct rule *recent_find(const struct ruleset *rules, const struct target *target,
                               struct host_handle *host, uint64_t now_ns);

/* It was looked for, and that was found. */
void recent_remember(const struct ruleset *rules, const struct target *target, const struct rule *rule,
                     struct host_handle host);

#endif
