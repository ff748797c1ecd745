/* libyaml inside other people's programs: it must neither use the program's malloc nor abort the program. In the shim
 * its calls of malloc and its failed asserts are sent to yaml_memory.c at link time:
 *
 *     -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free,--wrap=strdup,--wrap=__assert_fail
 *
 * Tools and tests link without this file and have libyaml as it is. */
#ifndef RULES_SHIM_YAML_MEMORY_H
#define RULES_SHIM_YAML_MEMORY_H

#include <setjmp.h>

#include "base/arena.h"

/* From now on libyaml lives in `arena` (NULL: it gets no memory), and a failed assert jumps to `failed`.
 * For one thread at a time. */
void yaml_memory_use(struct arena *arena, jmp_buf *failed);

#endif
