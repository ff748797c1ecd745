/* Errors by name, beyond what rules.h offers to everybody. */
#ifndef RULES_ERRNO_NAMES_H
#define RULES_ERRNO_NAMES_H

#include <stdbool.h>

#include "base/text.h"

/* May a rejected connect return it? */
bool errno_is_of_connect(int error);

/* "ECONNREFUSED, ETIMEDOUT, ...": all for which errno_is_of_connect is true. */
void errno_add_names_of_connect(struct text *text);

#endif
