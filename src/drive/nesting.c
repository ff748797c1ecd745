#include "drive/nesting.h"

#include "base/hash.h"
#include "drive/readable.h"
#include "state/segment.h"

__thread struct nesting *nesting_innermost __attribute__((tls_model("initial-exec")));

static uint64_t mark_of(const struct nesting *guard)
{
    return hash_mix((uint64_t)(uintptr_t)guard);
}

void nesting_enter(struct nesting *guard)
{
    guard->mark = mark_of(guard);
    guard->outer = nesting_innermost;
    nesting_innermost = guard;
}

void nesting_leave(struct nesting *guard)
{
    guard->mark = 0;
    nesting_innermost = guard->outer;
}

bool nesting_ask(void)
{
    struct nesting *guard = nesting_innermost;
    /* A coroutine's stack may be gone, if the lookup was left by a jump. */
    if ((uintptr_t)guard < (uintptr_t)__builtin_frame_address(0) || !is_readable(guard, sizeof *guard) ||
        guard->mark != mark_of(guard)) {
        nesting_innermost = NULL;
        return false;
    }
    segment_passed(PASSED_NESTED);
    return true;
}
