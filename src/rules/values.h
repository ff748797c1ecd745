/* Values as text that could stand in a rule file, and what they add up to. */
#ifndef RULES_VALUES_H
#define RULES_VALUES_H

#include "base/text.h"
#include "rules/rules.h"

void values_add_duration(struct text *text, uint64_t ns);
void values_add_ratio(struct text *text, uint32_t ratio_ppm);

/* All the delays of one call's retries of connects, each as long as it can be. */
uint64_t policy_longest_delays_ns(const struct policy *policy);

/* Attempts that one connect call may make. */
uint32_t policy_attempts(const struct policy *policy);

#endif
