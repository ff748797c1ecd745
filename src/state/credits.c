#include "state/credits.h"

#include <stdatomic.h>
#include <stddef.h>

#define SETS 64u
#define WAYS 4u

/* The low bits of a key choose its set; the word keeps the high ones. */
static _Atomic uint64_t table[SETS][WAYS];

static bool is_any_left; /* most processes never leave one: a call then costs a load */

bool credits_use(uint64_t key, uint64_t now_ns)
{
    if (!__atomic_load_n(&is_any_left, __ATOMIC_RELAXED))
        return false;
    _Atomic uint64_t *set = table[key % SETS];
    for (unsigned i = 0; i < WAYS; i++) {
        uint64_t word = atomic_load_explicit(&set[i], memory_order_relaxed);
        struct credit_answer answer;
        do
            answer = credit_use(word, key, now_ns);
        while (answer.is_used &&
               !atomic_compare_exchange_weak_explicit(&set[i], &word, answer.word, memory_order_relaxed,
                                                      memory_order_relaxed));
        if (answer.is_used)
            return true;
    }
    return false;
}

void credits_leave(uint64_t key, const struct call *call, uint32_t addresses, uint64_t now_ns)
{
    uint32_t count = credit_earned(call, addresses);
    if (!count)
        return;
    uint64_t left = credit_left(key, count, call->params.total_ns, now_ns);
    _Atomic uint64_t *set = table[key % SETS], *place = NULL;
    uint32_t shortest = UINT32_MAX;
    for (unsigned i = 0; i < WAYS; i++) {
        uint64_t word = atomic_load_explicit(&set[i], memory_order_relaxed);
        if (word && credit_is_for(word, key)) {
            place = &set[i];
            break;
        }
        uint32_t lasting = credit_lasting(word, now_ns);
        if (!place || lasting < shortest) {
            place = &set[i];
            shortest = lasting;
        }
    }
    /* Two that do this at once may both be right: either leaves the credits of one. */
    atomic_store_explicit(place, left, memory_order_relaxed);
    __atomic_store_n(&is_any_left, true, __ATOMIC_RELAXED);
}
