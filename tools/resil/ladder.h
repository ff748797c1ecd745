/* The ladder of a rule, for people and for other programs. */
#ifndef RESIL_LADDER_H
#define RESIL_LADDER_H

#include "json_out.h"
#include "rules/rules.h"

/* "host backup.internal:443, 10.0.0.9:443", to be freed. `number` from 0. */
char *ladder_rung_text(const struct ladder *ladder, uint32_t number);

/* An array of rungs; an empty one where there is no ladder (NULL). */
struct json_object *ladder_report(const struct ladder *ladder);

#endif
