/* Faults, for `resil check` and `resil explain`. */
#ifndef RESIL_FAULT_EXPLAIN_H
#define RESIL_FAULT_EXPLAIN_H

#include <json-c/json.h>
#include <stdio.h>

#include "rules/faults.h"

/* When it fires: "20% of the exchanges, from the third on". */
struct fault_when {
    char text[240];
};
struct fault_when fault_when(const struct fault *fault);

/* A table of all of the rule file. */
void faults_print_all(const struct ruleset *set, FILE *to);

/* Those that may happen to the target, where there are any. */
void faults_print_for(const struct ruleset *set, const struct target *target, const char *program, FILE *to);

/* The same for machines: an array of those that may happen to the target; of all, where it is NULL. */
struct json_object *faults_report(const struct ruleset *set, const struct target *target,
                                  const char *program);

#endif
