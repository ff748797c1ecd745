/* A request and its answer on a healthy connection of an event loop: what a guarded program does most often, done in as few
 * instructions, clocks and cache lines as may be. Whatever is not quite as simple goes the long way (drive/transfer.h),
 * which these functions leave to it as it was. errno is untouched. */
#ifndef DRIVE_QUICK_H
#define DRIVE_QUICK_H

#include "drive/transfer.h"

/* What makes an exchange anything but simple. */
#define NOT_SIMPLE                                                                                           \
    (SEND_ERROR_DUE | RECV_ERROR_DUE | NOT_AS_USUAL | FAULTY | WAITS_ARE_TIMED | JUDGING | ANSWER_OVERDUE |  \
     HANDED_OVER | MESSAGES | CONNECTIONLESS)

/* A request of that size (0: not known yet) is about to be sent: its answer is awaited, and due. False: nothing is done. After
 * true a call that did not send all of it goes the long way with `is_begun`. */
bool quick_begin(struct descriptor *entry, size_t size);

/* May a receive be made first, and thought about afterwards? Then EAGAIN is the program's to hear, and what has come ... */
static inline bool quick_may_receive(const struct descriptor *entry, int flags)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    return (state & (NOT_SIMPLE | NON_BLOCKING)) == NON_BLOCKING &&
           !(flags & (MSG_WAITALL | MSG_PEEK | MSG_OOB | MSG_ERRQUEUE | MSG_TRUNC)) &&
           descriptor_guard(entry)->is_simple;
}

/* ... counts as the answer, if one was awaited. False: nothing is done. */
bool quick_answered(struct descriptor *entry);

#endif
