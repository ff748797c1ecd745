/* Counts events of the last while in a few packed words, so that processes can share them.
 *
 * A window is WINDOW_BUCKETS words, each `tick:24 | marked:20 | events:20`. Bucket number (tick mod WINDOW_BUCKETS)
 * holds what happened in that tick; a word with another tick is out of date and counts as empty. All functions take
 * and return plain values: who shares the words publishes them by compare-and-swap. */
#ifndef POLICY_WINDOW_H
#define POLICY_WINDOW_H

#include <stdint.h>

#define WINDOW_BUCKETS 10

struct window_sum {
    uint32_t events;
    uint32_t marked; /* the events that were failures, or retries */
};

/* The tick that `now_ns` is in, for a window that spans `window_ns` (at least WINDOW_BUCKETS ns), and which of the words belongs
 * to it. */
uint64_t window_tick(uint64_t window_ns, uint64_t now_ns);
static inline unsigned window_bucket(uint64_t tick)
{
    return tick % WINDOW_BUCKETS;
}

/* The new value of that word when `add` has happened too. Counts saturate. */
uint64_t window_add(uint64_t word, uint64_t tick, struct window_sum add);

/* What the window holds at `now_ns`. */
struct window_sum window_total(const uint64_t words[WINDOW_BUCKETS], uint64_t window_ns, uint64_t now_ns);

#endif
