#include "policy/window.h"

#define COUNT_BITS 20
#define COUNT_MAX  ((1u << COUNT_BITS) - 1)
#define TICK_SHIFT (2 * COUNT_BITS)
#define TICK_MASK  ((1u << 24) - 1)

uint64_t window_tick(uint64_t window_ns, uint64_t now_ns)
{
    uint64_t width_ns = window_ns / WINDOW_BUCKETS;
    return width_ns ? now_ns / width_ns : now_ns;
}

/* What the word says about that tick: nothing, when it is about another. */
static struct window_sum counts_at(uint64_t word, uint64_t tick)
{
    if (word >> TICK_SHIFT != (tick & TICK_MASK))
        return (struct window_sum){0};
    return (struct window_sum){.events = word & COUNT_MAX, .marked = word >> COUNT_BITS & COUNT_MAX};
}

static uint64_t saturated(uint32_t count, uint32_t add)
{
    return add < COUNT_MAX - count ? count + add : COUNT_MAX;
}

uint64_t window_add(uint64_t word, uint64_t tick, struct window_sum add)
{
    struct window_sum counts = counts_at(word, tick);
    return (tick & TICK_MASK) << TICK_SHIFT | saturated(counts.marked, add.marked) << COUNT_BITS |
           saturated(counts.events, add.events);
}

struct window_sum window_total(const uint64_t words[WINDOW_BUCKETS], uint64_t window_ns, uint64_t now_ns)
{
    struct window_sum total = {0};
    uint64_t tick = window_tick(window_ns, now_ns);
    /* Each tick is looked for in its own bucket: a word of long ago, whose 24 bits have come round, is in another. */
    for (unsigned age = 0; age < WINDOW_BUCKETS && age <= tick; age++) {
        struct window_sum counts = counts_at(words[(tick - age) % WINDOW_BUCKETS], tick - age);
        total.events += counts.events;
        total.marked += counts.marked;
    }
    return total;
}
