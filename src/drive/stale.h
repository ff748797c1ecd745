/* Lookups down the ladder of their rule: the last good answer where name servers do not answer, or not in time (RFC 8767),
 * and addresses that the rule itself knows. */
#ifndef DRIVE_STALE_H
#define DRIVE_STALE_H

#include "drive/lookup.h"
#include "rules/rules.h"
#include "state/breakers.h"

/* What is known of a name when its lookup begins. */
struct stale {
    const struct ladder *ladder; /* NULL: the rule has none for lookups */
    const char *name;            /* in its normal form */
    enum stale_verdict verdict;
    uint64_t late_ns; /* ASK_LATE: how long the real lookup may take; 0: as long as its rule says */
};

/* `name` in its normal form. */
struct stale stale_begin(const struct rule *rule, const char *name, const struct lookup *lookup);

/* The lookup has failed with `eai`, or is not to be made at all: STALE_SERVE. True: it has an answer now, freed as any
 * other, and that was told. errno is untouched then. */
bool stale_serve(const struct stale *stale, const struct rule *rule, const struct target *target,
                 struct lookup *lookup, int eai);

/* It got what it asked for. */
void stale_not(const struct stale *stale, const struct rule *rule, struct host_handle host);

/* The real lookup has failed, or was late: the next one is made later. */
void stale_failed(const struct stale *stale);

/* Keeps the answer of a real lookup. */
void stale_keep(const struct lookup *lookup, const char *name);

/* A fallback host whose addresses are to be looked up now, as nobody has done so lately; NULL: none. `number` counts
 * them. */
const struct fallback_name *stale_fallback_due(const struct ruleset *rules, uint32_t *number);

/* Was the address given as that of `name` because a fallback host has it? Then connects to it are to be served as those
 * that were rejected. */
bool stale_led_to_fallback(const char *name, const struct address *address);

#endif
