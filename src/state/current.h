/* The rule set in force. Read at the first call that it could touch, or in the constructor with RESIL_EARLY or
 * RESIL_STRICT, and again when its files have changed. A rule file that is bad leaves the program as it is without us,
 * or under the rules from before, and says so. */
#ifndef STATE_CURRENT_H
#define STATE_CURRENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/hidden.h"
#include "rules/rules.h"
#include "state/visitors.h"

enum rules_state {
    RULES_TOO_EARLY, /* the constructor has not run: other constructors' calls pass through */
    RULES_UNREAD,
    RULES_READ,
    RULES_DISABLED,
};
extern uint32_t rules_state HIDDEN;

/* From now on the first call that rules could touch reads them. */
void rules_allow_reading(void);

/* Takes what reading the rules needs and what later may be out of reach: the file's text and the shared state. Where that
 * is not enough it reads them. For the constructor. */
void rules_prepare(void);

/* Reads the rules, unless that has been done or another thread is at it. */
void rules_read(void);

/* The rule set in force, which stays until rules_leave; read now if it was not yet, or if its files have changed, or waited
 * for while another thread reads it first, for a second at most. NULL: pass everything through. The visit's `entered_ns` is of the coarse clock, which is late by COARSE_NS at most, as a rule. */
#define COARSE_NS (20 * NS_PER_MS)
const struct ruleset *rules_enter(struct visit *visit);
static inline void rules_leave(const struct visit *visit)
{
    visitors_leave(visit);
}

/* What rules_enter does at that time (CLOCK_MONOTONIC), once a second at most: looks whether the files have changed, and
 * frees old rules that nobody reads any more. */
void rules_look(uint64_t now_ns);

/* Is told which rules are in force, after they have been read or looked at; NULL: nobody wants to know. The rules stay in
 * force meanwhile, or are NULL. */
extern void (*rules_follower)(const struct ruleset *rules) HIDDEN;

/* After rules_enter gave NULL: will there be rules in a moment? */
bool rules_are_coming(void);

/* Finds the rule file: RESIL_RULES, else the user's, else the machine's. False: there is none, the built-in rules
 * apply. `is_named` says that RESIL_RULES named it. */
bool rules_find_file(char *path, size_t capacity, bool *is_named);

#endif
