/* Does this process have one thread only? */
#ifndef STATE_ALONE_H
#define STATE_ALONE_H

#include <stdbool.h>

#include "base/hidden.h"

/* glibc's own variable, once the real functions are looked up; false until then, and where there is none. Threads that were made
 * without libc are not known to it. */
extern const char *process_single_threaded HIDDEN;
static inline bool process_is_alone(void)
{
    return __builtin_expect(*(const volatile char *)process_single_threaded != 0, 1);
}

#endif
