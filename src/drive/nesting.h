/* Calls that come from inside a lookup of ours: name service modules connect and send through the same hooks.
 *
 * The guard lives in the frame of the call that made it. That call may never return (siglongjmp out of a handler:
 * wget's alarm), and then nobody takes the guard away; so it counts only while its frame is further out than the
 * current one and still holds its mark. */
#ifndef DRIVE_NESTING_H
#define DRIVE_NESTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hidden.h"

struct nesting {
    uint64_t mark;
    struct nesting *outer;
};

/* Marks this thread as inside until nesting_leave; `guard` is a local variable of the caller. */
void nesting_enter(struct nesting *guard);
void nesting_leave(struct nesting *guard);

/* The innermost guard of this thread; NULL: none. */
extern __thread struct nesting *nesting_innermost HIDDEN __attribute__((tls_model("initial-exec")));

/* Is this call made from inside a marked one of the same thread? Counted when so. */
bool nesting_ask(void);
static inline bool nesting_is_inside(void)
{
    return __builtin_expect(nesting_innermost != NULL, 0) && nesting_ask();
}

#endif
