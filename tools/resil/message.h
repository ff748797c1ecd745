/* What goes wrong, said on stderr; and memory that is there or the program is not. */
#ifndef RESIL_MESSAGE_H
#define RESIL_MESSAGE_H

#include <stddef.h>

/* What messages begin with: "resil run". */
void message_begin(const char *name);

/* One line on stderr, "resil run: ...": what, and what to do about it. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Memory, or the end with status 2. */
void *allocate(size_t size); /* zeroed */
void *grow(void *memory, size_t size);
char *copy_of(const char *text);
char *formatted(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
