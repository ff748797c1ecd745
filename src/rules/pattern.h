/* Patterns for programs and hosts. */
#ifndef RULES_PATTERN_H
#define RULES_PATTERN_H

#include "rules/rules.h"

/* Shell patterns: *, ?, [a-z], [!a-z], and \ before a character that stands for itself. Not fnmatch: that may
 * allocate, and asks the locale. */
bool pattern_matches(const char *pattern, const char *text);

/* Is the name one or more labels below the suffix? */
bool host_is_below(const char *name, size_t length, const struct host_pattern *suffix);

/* Is there nothing that `later` matches and `earlier` does not, whatever the program of `later`? In doubt false.
 * `steps` bounds the work: each comparison uses up one, and at 0 the answer is false. */
bool match_covers(const struct rule_match *earlier, const struct rule_match *later, uint64_t *steps);

#endif
