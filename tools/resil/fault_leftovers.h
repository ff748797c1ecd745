/* What earlier runs with `--fault` have left where the shared state is: a rule file each, and its segment. */
#ifndef RESIL_FAULT_LEFTOVERS_H
#define RESIL_FAULT_LEFTOVERS_H

#define FAULT_RULES_PREFIX "faults-"
#define FAULT_RULES_SUFFIX ".yaml"

/* Removes those of runs that began more than a day ago, unless a program still uses them. */
void fault_leftovers_remove(const char *directory);

#endif
