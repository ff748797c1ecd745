#include "drive/nesting.h"

#include <stddef.h>

#include "base/hash.h"
#include "state/segment.h"

static __thread struct nesting *innermost __attribute__((tls_model("initial-exec")));

static uint64_t mark_of(const struct nesting *guard)
{
    return hash_mix((uint64_t)(uintptr_t)guard);
}

void nesting_enter(struct nesting *guard)
{
    guard->mark = mark_of(guard);
    guard->outer = innermost;
    innermost = guard;
}

void nesting_leave(struct nesting *guard)
{
    guard->mark = 0;
    innermost = guard->outer;
}

bool nesting_is_inside(void)
{
    struct nesting *guard = innermost;
    if (!guard)
        return false;
    if ((uintptr_t)guard < (uintptr_t)__builtin_frame_address(0) || guard->mark != mark_of(guard)) {
        innermost = NULL;
        return false;
    }
    segment_passed(PASSED_NESTED);
    return true;
}
