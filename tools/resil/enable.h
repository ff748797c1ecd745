/* What `resil enable` and `disable` do, once it is clear that they may. All give the exit status, and say what they did
 * or why they did not. */
#ifndef RESIL_ENABLE_H
#define RESIL_ENABLE_H

#include <stdbool.h>

struct unit_request {
    const char *name;
    const char *rules, *log; /* NULL: the usual ones */
};

/* `library` is what the loader is told: a path, or one with $LIB in it. */
int enable_unit(const struct unit_request *request, const char *library);
int disable_unit(const char *name);
int disable_units(void); /* all of them; there need not be any */

int enable_system(const char *library);
int disable_system(bool must_be_there);

#endif
