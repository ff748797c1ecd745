/* Answers that did not come in time on connections that block. Somebody may wait for one inside a receive that ends by itself,
 * so whichever wait comes upon it first leaves it here, to the waits that are about its descriptor (drive/deadline.h).
 *
 * A few places, looked through while any is taken. What is over by now is taken out by who looks. Lock-free; a fork child gets
 * them empty, as all that is pending. */
#ifndef STATE_LEFT_ANSWERS_H
#define STATE_LEFT_ANSWERS_H

#include "state/pending.h"

/* Leaves the answer that the claimed slot awaits, and has awaited until its time, which is not looked at again then (pending.h:
 * left_due_ns). False: there is no more room. */
bool left_answers_add(struct pending *pending);

/* Is there any? A hint that is never wrong when it says no. */
static inline bool left_answers_are_any(void)
{
    return __builtin_expect(atomic_load_explicit(&pending_head->left_count, memory_order_relaxed) != 0, 0);
}

/* The slots of all of them in turn, not claimed. NULL at the end. `*turn` is 0 at first. */
struct pending *left_answers_next(unsigned *turn);

/* Is the slot's answer one of them? It is so no more once another time is set for it. */
static inline bool left_answers_have(const struct pending *pending)
{
    return atomic_load_explicit(&pending->answer_due_ns, memory_order_relaxed) ==
           atomic_load_explicit(&pending->left_due_ns, memory_order_relaxed);
}

#endif
