/* The rule set in force. Read at the first call that it could touch, or in the constructor with RESIL_EARLY or
 * RESIL_STRICT. A rule file that is bad leaves the program as it is without us, and says so. */
#ifndef STATE_CURRENT_H
#define STATE_CURRENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hidden.h"
#include "rules/rules.h"

enum rules_state {
    RULES_TOO_EARLY, /* the constructor has not run: other constructors' calls pass through */
    RULES_UNREAD,
    RULES_BEING_READ,
    RULES_READ,
};
extern uint32_t rules_state HIDDEN;
extern const struct ruleset *rules_in_force HIDDEN; /* NULL: none */

/* From now on the first call that rules could touch reads them. */
void rules_allow_reading(void);

/* Reads the rules. Meant to be called once; a second call, or one while another thread reads, does nothing. */
void rules_read(void);

/* The rule set in force, read now if it was not yet; NULL: pass everything through. */
static inline const struct ruleset *rules_now(void)
{
    uint32_t state = __atomic_load_n(&rules_state, __ATOMIC_ACQUIRE);
    if (__builtin_expect(state != RULES_READ, 0)) {
        if (state == RULES_UNREAD)
            rules_read();
        if (__atomic_load_n(&rules_state, __ATOMIC_ACQUIRE) != RULES_READ)
            return NULL;
    }
    return rules_in_force;
}

/* Finds the rule file: RESIL_RULES, else the user's, else the machine's. False: there is none, the built-in rules
 * apply. `is_named` says that RESIL_RULES named it. */
bool rules_find_file(char *path, size_t capacity, bool *is_named);

#endif
