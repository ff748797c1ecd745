/* A descriptor that is made to block while it connects: the program has waited for as long as it wanted to, and puts the mode
 * back, as perl and PHP do.
 *
 * From then on nothing of ours may connect it, which would wait inside the kernel, nobody knows where. So one attempt is in
 * flight when the mode changes, the call's last, and the rule's timeouts still bound it: in the program's waits as before,
 * and in its next call, which waits here as it would in the kernel. Whether a descriptor blocks is for that purpose what its
 * entry says (NON_BLOCKING), changed by who has claimed its slot, and before the kernel is told. */
#ifndef DRIVE_MIDWAY_H
#define DRIVE_MIDWAY_H

#include <stdbool.h>

#include "state/descriptors.h"

static inline bool midway_concerns(int fd)
{
    const struct descriptor *entry = descriptor_of(fd);
    return entry && atomic_load_explicit(&entry->state, memory_order_relaxed) & CONNECTING;
}

/* Makes that call of the program, which makes the descriptor block. Returns what it returns. */
int midway_made_blocking(int fd, int (*call)(int fd, void *argument), void *argument);

/* The program's call on such a descriptor waits until it is connected, or has failed. False: it does not, or no longer, and
 * errno says why: EAGAIN at once where it does not block, or when the program's own timeout (SO_RCVTIMEO, SO_SNDTIMEO) is
 * over; EINTR. */
bool midway_wait(int fd, struct descriptor *entry, int timeout_option);

#endif
