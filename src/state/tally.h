/* Successes at one host, one after the other: what an event loop under load reports most. Within a tick of the coarse clock the
 * first one is counted at once, and the others here, without a locked instruction on memory that all processes share. They are
 * counted there with the first one of the next tick, or when the program waits, fails, ends or becomes another; a process that is killed in
 * between takes those of the last ms with it.
 *
 * Only in a process with one thread. A signal handler that comes in between may lose one. */
#ifndef STATE_TALLY_H
#define STATE_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hidden.h"
#include "state/breakers.h"

struct tally {
    struct host_handle host;
    const struct breaker_params *breaker; /* NULL: it has none */
    uint64_t tick_ns;                     /* when the first one of those was counted ... */
    uint64_t
        begun_ns; /* ... and when an exchange was begun last, by the coarse clock: no need to look at it in between */
    uint32_t count; /* not counted there yet */
    /* Here, where it is looked at anyway: how many exchanges were timed (drive/quick.h), and when the last one began. Of all
     * threads. */
    uint32_t timed;
    uint64_t timed_ns;
};
extern struct tally tally HIDDEN;

/* One more exchange was answered. */
void tally_add(struct host_handle host, const struct breaker_params *breaker);

/* Counts them there. */
void tally_count(void);
static inline void tally_settle(void)
{
    if (__builtin_expect(tally.count != 0, 0))
        tally_count();
}

/* In a fork child: they are its parent's to count. */
void tally_forked(void);

#endif
