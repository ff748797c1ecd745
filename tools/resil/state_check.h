/* Whether state can be shared, and if not, why. */
#ifndef RESIL_STATE_CHECK_H
#define RESIL_STATE_CHECK_H

/* Opens the state of that rule file as a program would. NULL, or a sentence about the state folder that says why each
 * process would keep to itself; to be freed. */
char *state_problem(const char *canonical_rules);

#endif
