/* Who is inside which rule set, so that an old one is freed only when nobody reads it any more.
 *
 * Each call has a place of its own for as long as it lasts, and announces there, in the same word that takes it, the
 * version that it may read: that one or a later one. Calls may never return
 * (siglongjmp, cancellation, a fork child without the other threads): a place whose thread is gone, or has since made a
 * call from further out, is free again. In doubt it is kept, and the rule set with it. Lock-free and
 * async-signal-safe. */
#ifndef STATE_VISITORS_H
#define STATE_VISITORS_H

#include <stdbool.h>
#include <stdint.h>

struct visit {
    uint64_t entered_ns; /* when it began, for whoever has the time: nothing here asks for it */
    uint32_t place;      /* 0: none */
};

/* What everybody reads, and its version, which grows by one with each publishing: comparing two of them survives that it
 * comes round. Changed by one thread at a time. */
struct published {
    const void *what;
    uint32_t version;
};
const void *visitors_publish(struct published *published, const void *what); /* returns what was there */

/* What `published` leads to, which stays as it is until visitors_leave; NULL: nothing is published, and nobody need
 * leave. */
const void *visitors_enter(struct visit *visit, const struct published *published);
void visitors_leave(const struct visit *visit); /* errno is untouched */

/* May somebody still be reading what was published as that version, and is no longer? Sets free the places of threads that
 * are gone. */
bool visitors_hold(uint32_t version);

#endif
