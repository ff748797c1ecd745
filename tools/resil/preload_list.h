/* The text of /etc/ld.so.preload: libraries, split at blanks and colons, with comments. */
#ifndef RESIL_PRELOAD_LIST_H
#define RESIL_PRELOAD_LIST_H

#include <stdbool.h>

#define PRELOAD_LIST "/etc/ld.so.preload"

bool preload_list_has(const char *text); /* any libresil.so */

/* Ours first, on a line of its own; whatever else is there stays as it is. */
char *preload_list_with(const char *text, const char *library);
char *preload_list_without(const char *text);

/* Nothing but blanks. */
bool preload_list_is_empty(const char *text);

#endif
