#include "policy/credit.h"

/* The word, from the top: key 24 bits | until 32 | count 8. The time is whole 1/64 s, rounded up, which come round
 * after two years of uptime. */
#define COUNT_BITS 8
#define UNTIL_BITS 32
#define COUNT_MAX  ((1u << COUNT_BITS) - 1)

#define TICK_NS       UINT64_C(15625000)
#define LASTING_TICKS (UINT64_C(3600) * 64) /* nobody means more, and a damaged word lasts no longer */
#define DEFAULT_NS    UINT64_C(60000000000)

uint32_t credit_earned(const struct call *call, uint32_t addresses)
{
    if (call->action != CALL_DONE || call->ending != CALL_FAILED || call->attempts < 2)
        return 0;
    uint32_t others = addresses > 1 ? addresses - 1 : 1;
    return others < COUNT_MAX ? others : COUNT_MAX;
}

uint64_t credit_left(uint64_t key, uint32_t count, uint64_t lasting_ns, uint64_t now_ns)
{
    uint64_t ticks = ((lasting_ns ? lasting_ns : DEFAULT_NS) - 1) / TICK_NS + 1;
    uint32_t until = (uint32_t)(now_ns / TICK_NS + 1 + (ticks < LASTING_TICKS ? ticks : LASTING_TICKS));
    return key >> (UNTIL_BITS + COUNT_BITS) << (UNTIL_BITS + COUNT_BITS) | (uint64_t)until << COUNT_BITS |
           (count < COUNT_MAX ? count : COUNT_MAX);
}

struct credit_answer credit_use(uint64_t word, uint64_t key, uint64_t now_ns)
{
    if (!credit_is_for(word, key) || !credit_lasting(word, now_ns))
        return (struct credit_answer){.word = word};
    return (struct credit_answer){.word = word - 1, .is_used = true};
}

uint32_t credit_lasting(uint64_t word, uint64_t now_ns)
{
    uint32_t left = (uint32_t)(word >> COUNT_BITS) - (uint32_t)(now_ns / TICK_NS);
    /* Another thread may have read the clock a little later. */
    return word & COUNT_MAX && left <= LASTING_TICKS + 64 ? left : 0;
}

bool credit_is_for(uint64_t word, uint64_t key)
{
    return word >> (UNTIL_BITS + COUNT_BITS) == key >> (UNTIL_BITS + COUNT_BITS);
}
