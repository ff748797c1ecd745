#include "policy/limit.h"

/* The bulkhead's word, from the top: changes 24 bits | pending 16 | live 24. Changes come round; they only make sure
 * that whoever counts connections notices that one came and another went meanwhile. */
#define LIVE_BITS    24
#define PENDING_BITS 16
#define LIVE_MAX     ((UINT64_C(1) << LIVE_BITS) - 1)
#define PENDING_MAX  ((UINT64_C(1) << PENDING_BITS) - 1)

#define NS_PER_S UINT64_C(1000000000)

/* Nobody tells a waiting call that a place is free: it looks again after this long. */
#define LOOK_AGAIN_NS UINT64_C(10000000)

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t later(uint64_t from_ns, uint64_t by_ns)
{
    return by_ns < UINT64_MAX - from_ns ? from_ns + by_ns : UINT64_MAX;
}

struct limit_view limit_view(uint64_t word)
{
    return (struct limit_view){.pending = word >> LIVE_BITS & PENDING_MAX, .live = word & LIVE_MAX};
}

static uint64_t changed(uint64_t word, uint64_t pending, uint64_t live)
{
    uint64_t changes = (word >> (LIVE_BITS + PENDING_BITS)) + 1;
    return changes << (LIVE_BITS + PENDING_BITS) | min(pending, PENDING_MAX) << LIVE_BITS |
           min(live, LIVE_MAX);
}

struct limit_answer limit_enter(uint64_t word, const struct limit_params *params, uint64_t begun_ns,
                                uint64_t now_ns)
{
    struct limit_view view = limit_view(word);
    /* A counter that is full could not be counted down again. */
    bool is_free = params->connections == 0 || (uint64_t)view.pending + view.live < params->connections;
    if (is_free && view.pending < PENDING_MAX)
        return (struct limit_answer){.word = changed(word, view.pending + 1, view.live)};
    uint64_t deadline_ns = later(begun_ns, params->wait_ns);
    bool is_late = now_ns >= deadline_ns;
    return (struct limit_answer){
        .word = word,
        .verdict = is_late ? LIMIT_REJECT : LIMIT_WAIT,
        .until_ns = is_late ? 0 : min(later(now_ns, LOOK_AGAIN_NS), deadline_ns),
    };
}

uint64_t limit_connected(uint64_t word)
{
    struct limit_view view = limit_view(word);
    return changed(word, view.pending ? view.pending - 1 : 0, (uint64_t)view.live + 1);
}

uint64_t limit_left(uint64_t word)
{
    struct limit_view view = limit_view(word);
    return changed(word, view.pending ? view.pending - 1 : 0, view.live);
}

uint64_t limit_ended(uint64_t word)
{
    struct limit_view view = limit_view(word);
    return changed(word, view.pending, view.live ? view.live - 1 : 0);
}

uint64_t limit_corrected(uint64_t word, uint32_t live, bool is_quiet)
{
    return changed(word, is_quiet ? 0 : limit_view(word).pending, live);
}

/* The word is the time at which the bucket will be full again: each token that is taken moves it on by the time that
 * one takes to come back. */
struct limit_answer limit_take(uint64_t word, const struct limit_params *params, uint64_t begun_ns,
                               uint64_t now_ns)
{
    if (params->rate_per_s == 0)
        return (struct limit_answer){.word = word};
    /* Rounded up: not even by a rounding more often than the rule says. */
    uint64_t token_ns = (NS_PER_S + params->rate_per_s - 1) / params->rate_per_s;
    uint64_t bucket_ns = max(NS_PER_S, token_ns);
    uint64_t full_ns = max(word, now_ns);
    /* Nobody waits for longer than wait_ns, so a time further off was written by another rule, or is damage. */
    full_ns = min(full_ns, later(later(now_ns, bucket_ns), params->wait_ns));
    uint64_t next_full_ns = later(full_ns, token_ns);
    uint64_t ready_ns = next_full_ns - min(bucket_ns, next_full_ns);
    if (ready_ns > now_ns && ready_ns > later(begun_ns, params->wait_ns))
        return (struct limit_answer){.word = word, .verdict = LIMIT_REJECT, .until_ns = ready_ns};
    return (struct limit_answer){
        .word = next_full_ns,
        .verdict = ready_ns > now_ns ? LIMIT_WAIT : LIMIT_ADMIT,
        .until_ns = ready_ns > now_ns ? ready_ns : 0,
    };
}
