/* Where fallback hosts are, found out before a program needs it: it may never look up a name itself. */
#ifndef RESIL_FALLBACKS_H
#define RESIL_FALLBACKS_H

#include <stdio.h>

#include "json_out.h"
#include "rules/rules.h"

/* Has the names of fallback hosts looked up that nobody has looked up lately, by a process that ends by itself. Waits for it
 * only where nothing is known of one, and not for long. `canonical` is the rule file, for the shared state. */
void fallbacks_look_up(const struct ruleset *rules, const char *canonical);

/* What this user's programs know of the rule's fallback hosts that have names: nothing where there are none. `path` is that
 * of the rule file. For machines, an array. */
void fallbacks_print(const struct rule *rule, const char *path, FILE *to);
struct json_object *fallbacks_report(const struct rule *rule, const char *path);

#endif
