/* Collects what is wrong with a rule file, and words it. */
#ifndef RULES_PROBLEMS_H
#define RULES_PROBLEMS_H

#include "base/text.h"
#include "rules/rules.h"

/* Counts a problem, and keeps it while there is room, in the order of places. The same text at the same place (an alias is read wherever it is
 * used) counts once. */
void problem_add(struct problems *problems, enum problem_kind kind, uint32_t line, uint32_t column,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Text of the file as it may stand in a message: in quotes, shortened, and with nothing in it that would steer a
 * terminal. */
struct quoted {
    char text[64];
};
struct quoted quote(const char *bytes, size_t length);

/* The one of `names` (NULL at the end) that was probably meant by `word`; NULL when none is near. */
const char *nearest_name(const char *word, const char *const *names);

/* "a, b, c" */
void add_names(struct text *text, const char *const *names);

#endif
