/* Faults on lookups. */
#ifndef DRIVE_FAULT_LOOKUP_H
#define DRIVE_FAULT_LOOKUP_H

#include "drive/lookup.h"
#include "rules/rules.h"
#include "state/faults.h"

/* What may happen to the lookup of `name`; NULL: nothing. To be ended with flow_end. */
struct flow *fault_lookup_flow(const struct ruleset *rules, const struct target *target);

/* One attempt, to be given up at `until_ns`. False: nothing happens to it, but that it may have been late. */
bool fault_lookup(struct lookup *lookup, struct flow *flow, const char *name, uint64_t until_ns, int *eai);

#endif
