/* Who is inside which rule set, so that an old one is freed only when nobody reads it any more.
 *
 * Each call has a place of its own for as long as it lasts, and announces there what it reads. Calls may never return
 * (siglongjmp, cancellation, a fork child without the other threads): a place whose thread is gone, or has since made a
 * call from further out, is free again. In doubt it is kept, and the rule set with it. Lock-free and
 * async-signal-safe. */
#ifndef STATE_VISITORS_H
#define STATE_VISITORS_H

#include <stdbool.h>
#include <stdint.h>

struct visit {
    uint32_t place; /* 0: none */
};

/* What `published` leads to, which stays as it is until visitors_leave; NULL: nothing is published, and nobody need
 * leave. */
const void *visitors_enter(struct visit *visit, const void *const *published);
void visitors_leave(const struct visit *visit); /* errno is untouched */

/* May somebody still be reading `what`, which is published no longer? Sets free the places of threads that are gone. */
bool visitors_hold(const void *what);

#endif
