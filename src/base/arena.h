/* Memory from mmap, given back all at once: the program's malloc is never used (the call that needs memory may run in
 * a signal handler, a fork child, or inside the program's own malloc). */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena; /* its own memory lives in it */

/* NULL without memory. No more than `limit_bytes` will be handed out. */
struct arena *arena_open(size_t limit_bytes);
void arena_close(struct arena *arena); /* NULL is fine */

/* Zeroed, aligned to 16; NULL when the limit or the memory is used up. */
void *arena_get(struct arena *arena, size_t size);
char *arena_copy(struct arena *arena, const char *text, size_t length); /* adds the terminating zero */

/* A resizable block for libraries that expect malloc: a freed block is used again. */
void *arena_resize(struct arena *arena, void *block, size_t size); /* block may be NULL */
void arena_release(struct arena *arena, void *block);              /* block may be NULL */

#endif
