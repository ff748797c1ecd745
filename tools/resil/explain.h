/* What `resil explain` and `resil check` say of declared functions. */
#ifndef RESIL_EXPLAIN_H
#define RESIL_EXPLAIN_H

#include <json-c/json.h>
#include <stdbool.h>

#include "rules/rules.h"

/* `resil explain --function`; gives the exit status. */
int explain_function(const char *rules, const char *wanted, bool is_json);

/* The table of `resil check`; nothing where none are declared. */
void explain_functions(const struct ruleset *set);
struct json_object *function_reports(const struct ruleset *set); /* set may be NULL */

/* Where a value comes from: "rules.yaml:12:18", "figure". To be freed. */
char *origin_text(const char *path, const struct origin *origin);

#endif
