#include "state/left_answers.h"

/* The slot and the time, so that what was looked at is taken out and nothing that has been left since: 18 bits of its number
 * + 1, and 46 of the time. */
#define TIME_BITS 46

static uint64_t place_of(const struct pending *pending, uint64_t due_ns);

bool left_answers_add(struct pending *pending)
{
    uint64_t due_ns = atomic_load(&pending->answer_due_ns), mine = place_of(pending, due_ns);
    atomic_store(&pending->left_due_ns, due_ns);
    for (unsigned i = 0; i < PENDING_LEFT; i++)
        if (atomic_load(&pending_head->left[i]) == mine)
            return true;
    atomic_fetch_add(&pending_head->left_count, 1);
    for (unsigned i = 0; i < PENDING_LEFT; i++) {
        uint64_t nobodys = 0;
        if (!atomic_compare_exchange_strong(&pending_head->left[i], &nobodys, mine))
            continue;
        pending_make_busy();
        return true;
    }
    atomic_fetch_sub(&pending_head->left_count, 1);
    atomic_store(&pending->left_due_ns, 0);
    return false;
}

struct pending *left_answers_next(unsigned *turn)
{
    while (*turn < PENDING_LEFT) {
        _Atomic uint64_t *place = &pending_head->left[(*turn)++];
        uint64_t there = atomic_load(place);
        struct pending *pending = there ? pending_number((uint32_t)(there >> TIME_BITS) - 1) : NULL;
        if (!pending)
            continue;
        if (left_answers_have(pending) && place_of(pending, atomic_load(&pending->left_due_ns)) == there)
            return pending;
        if (atomic_compare_exchange_strong(place, &there, 0))
            atomic_fetch_sub(&pending_head->left_count, 1);
    }
    return NULL;
}

static uint64_t place_of(const struct pending *pending, uint64_t due_ns)
{
    return (uint64_t)(pending->number + 1) << TIME_BITS | (due_ns & ((1ull << TIME_BITS) - 1));
}
