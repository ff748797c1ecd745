/* Text of others (shared memory, file names), made fit for a terminal. */
#ifndef RESIL_PRINTABLE_H
#define RESIL_PRINTABLE_H

#include <stddef.h>

/* Puts ? for whatever is no UTF-8, would steer a terminal, or takes no place of its own. In place; gives `text`. */
char *printable(char *text);

/* Copies at most `size` bytes of a field that may lack its end, and makes them printable. `to` has size + 1 bytes. */
char *printable_field(char *to, const char *field, size_t size);

/* How many columns printable text takes. */
size_t printable_width(const char *text);

#endif
