/* What of the declared functions of a rule file can be put under policy in a program. */
#ifndef RESIL_DIAGNOSE_FUNCTIONS_H
#define RESIL_DIAGNOSE_FUNCTIONS_H

#include "doubts.h"
#include "findings.h"
#include "libraries.h"
#include "rule_file.h"

/* A finding for each function; none where nothing is known of the program's libraries. */
void diagnose_functions(struct findings *findings, const struct program *program,
                        const struct libraries *libraries, const struct ruleset *set);

/* Says on stderr what is certain not to work. What a library may have that is loaded later is not. */
void warn_of_functions(const char *rules, const struct doubts *doubts);

#endif
