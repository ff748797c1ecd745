/* For the hooks that send and receive. A descriptor without a rule costs one load, one branch and a jump to libc; one with a
 * rule that has nothing to do at the moment, a call more. The guarded forms are out of line, so that the common path has no
 * frame. Each makes the call first and thinks only if it did not simply go through. */
#ifndef HOOKS_GUARDED_H
#define HOOKS_GUARDED_H

#include "drive/transfer.h"
#include "hooks/export.h"
#include "state/faults.h"

/* Where the program makes the call. The guarded forms are jumped to, so this holds there too. */
#define CALLER ((uintptr_t)__builtin_return_address(0))

static inline bool needs_care(const struct descriptor *entry, uint32_t states)
{
    return __builtin_expect((atomic_load_explicit(&entry->state, memory_order_relaxed) & states) != 0, 0);
}

/* Has it nothing to be cared for, or faults that will not happen to this call? */
static inline bool is_plain(struct descriptor *entry, uint32_t states, enum fault_operation operation)
{
    return !needs_care(entry, states) || flow_is_quiet(entry, states, operation);
}

/* Is the entry that of the call, which has been made or is about to be? Else its socket has been closed meanwhile, and the
 * number or the entry may be another one's. */
static inline bool is_of(const struct descriptor *entry, const struct transfer *transfer)
{
    return entry && entry->cookie == transfer->cookie;
}

/* What a guarded call may need after the real one has returned. Kept on the stack: keeping it in registers that calls
 * preserve would cost a push and a pop each, on every call, for a case that is rare. */
struct kept {
    uint64_t cookie;
    void *data;
    size_t size;
    int fd, flags;
};
#define KEEP(kept) __asm__ volatile("" : "+m"(kept))

/* The call was made and ended with `result`, or NOT_YET. */
ssize_t receive_with_care(struct descriptor *entry, const struct transfer *transfer, ssize_t result);

#endif
