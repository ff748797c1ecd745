/* The table of keys.def as the loader uses it. The public part is key_table in rules.h. */
#ifndef RULES_KEYS_H
#define RULES_KEYS_H

#include "rules/rules.h"

enum key_type {
    KEY_DURATION,
    KEY_COUNT,
    KEY_RATIO,
    KEY_FACTOR,
    KEY_RATE,
    KEY_RETRY_ON,
    KEY_JITTER,
    KEY_ADDRESSES,
    KEY_ERROR,
    KEY_SCOPE,
    KEY_PREFIXES,
};

/* How a key's value is stored and what it may be; in the order of key_table. */
struct key_rule {
    uint16_t offset, size; /* of the field in struct policy */
    enum key_type type;
    uint64_t minimum, maximum, figure;
};
extern const struct key_rule key_rules[];

enum { KEY_COUNT_MAX = 40 }; /* no fewer than there are keys */

/* Of PREFIXES: given is their count; set they are by the address of a struct failure_prefixes, or 0 for none. */
uint64_t key_get(const struct policy *policy, uint32_t key);
void key_set(struct policy *policy, uint32_t key, uint64_t value);

/* The number of the key; key_count when there is none. */
uint32_t key_find(const char *section, const char *key);

/* The words of the enumerated types, in the order of their values, NULL at the end. */
extern const char *const jitter_names[];
extern const char *const scope_names[];
extern const char *const addresses_names[];

#endif
