#include "policy/addresses.h"

/* The word, from the top: identity 16 bits | since 31 | theirs 1 | failed 16. `since` is the time of the first mark in
 * 1/64 s, which come round after a year of uptime; `theirs`: not all of the marks are our own fault. */
#define FAILED_BITS 16
#define THEIRS_BITS 1
#define SINCE_BITS  31

#define SINCE_SHIFT    (FAILED_BITS + THEIRS_BITS)
#define IDENTITY_SHIFT (SINCE_SHIFT + SINCE_BITS)
#define SINCE_MAX      ((UINT64_C(1) << SINCE_BITS) - 1)

#define TICK_NS UINT64_C(15625000)

static uint64_t ticks(uint64_t ns)
{
    return ns / TICK_NS;
}

/* Did the call begin when whoever made the first mark should long have gone on to another address? */
static bool is_left_at_that(uint64_t since, const struct addresses_tried *tried)
{
    uint64_t between = (ticks(tried->begun_ns) - since) & SINCE_MAX;
    return between <= SINCE_MAX / 2 && between > ticks(tried->attempt_ns) + 1;
}

struct addresses_answer addresses_failed(uint64_t word, const struct addresses_tried *tried, uint64_t now_ns)
{
    uint16_t failed = (uint16_t)word;
    bool is_theirs = word >> FAILED_BITS & 1;
    uint64_t since = word >> SINCE_SHIFT & SINCE_MAX;
    if (!failed || (uint16_t)(word >> IDENTITY_SHIFT) != tried->identity) {
        failed = 0;
        is_theirs = false;
        since = ticks(now_ns) & SINCE_MAX;
    }
    bool is_known = (failed & tried->tried) == tried->tried;
    failed |= tried->tried;
    is_theirs = is_theirs || !tried->is_ours;
    if (is_theirs && (failed & tried->all) == tried->all)
        return (struct addresses_answer){.report = BREAKER_FAILURE};
    /* A probe goes alone: if it fails where one has failed before, those who call go nowhere else. */
    bool is_all_that_is_tried = is_left_at_that(since, tried) || (tried->is_probe && is_known);
    return (struct addresses_answer){
        .word = (uint64_t)tried->identity << IDENTITY_SHIFT | since << SINCE_SHIFT |
                (is_theirs ? UINT64_C(1) << FAILED_BITS : 0) | failed,
        .report = !tried->is_ours && is_all_that_is_tried ? BREAKER_FAILURE : BREAKER_NEUTRAL,
    };
}
