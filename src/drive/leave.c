/* The program exits. What is between two attempts nobody carries on from here on, and who else has such a descriptor (a fork
 * child, somebody whom it was sent to) would wait for as long as the kernel asks a port that never answers. With its option
 * back it is refused within a second.
 *
 * Exit handlers may still wait for it, and other threads too: it stays pending, and what is due is carried out. */
#include <errno.h>

#include "drive/options.h"
#include "drive/park.h"
#include "drive/signals.h"
#include "state/pending.h"
#include "state/process.h"

static void leave_to_others(struct pending *pending)
{
    struct descriptor *entry = atomic_load_explicit(&pending->entry, memory_order_relaxed);
    bool may_be_parked = atomic_load_explicit(&pending->phase, memory_order_relaxed) == PENDING_PARKED;
    struct pending *claimed = entry && may_be_parked ? pending_claim(entry) : NULL;
    if (!claimed)
        return;
    pending = claimed; /* another one, if the entry has become another's meanwhile */
    int fd = pending->fd;
    bool is_parked = pending->phase == PENDING_PARKED && !pending->is_withheld;
    if (is_parked && descriptor_of(fd) == entry && option_cookie(fd) == entry->cookie)
        stay_parked(fd, &pending->address.any, pending->saved_hops);
    pending_put_back(pending);
}

__attribute__((destructor)) static void leave(void)
{
    /* A fork child has nothing pending; a vfork child that exits so, as it must not, has its parent's. */
    if (!atomic_load_explicit(&pending_head->connects, memory_order_relaxed) || !process_owns_memory())
        return;
    int error = errno;
    sigset_t mask;
    signals_block(&mask);
    struct pending *pending;
    for (uint32_t cursor = 0; (pending = pending_each(&cursor));)
        leave_to_others(pending);
    signals_restore(&mask);
    errno = error;
}
