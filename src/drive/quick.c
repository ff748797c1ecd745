#include "drive/quick.h"

#include "base/clock.h"
#include "drive/deadline.h"
#include "drive/exchange.h"
#include "hooks/real.h"
#include "state/latencies.h"
#include "state/own.h"
#include "state/pending.h"
#include "state/tally.h"

/* Beyond the first ones of a process exchanges are timed no more often than the coarse clock ticks: a sample is as good, and
 * reading the precise clock twice costs more than all the rest. */
#define TIMED_AT_FIRST 1000u
/* From here on a deadline may be late by a tick of that clock. */
#define LONG_NS (1 * NS_PER_S)
#define TICK_NS (10 * NS_PER_MS) /* at most, with 100 ticks a second */

static int number_of(const struct pending *pending, const struct descriptor *entry);
static bool is_timed(uint64_t coarse_ns);

bool quick_begin(struct descriptor *entry, size_t size)
{
    const struct guard *guard = descriptor_guard(entry);
    struct pending *pending = pending_of(entry);
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    /* What is sent second may be the end of a handshake. */
    if ((state & (NOT_SIMPLE | SECOND_EXCHANGE | OPENING | IDLE | NON_BLOCKING)) != (IDLE | NON_BLOCKING) ||
        !guard->is_simple || !pending || pending->phase != PENDING_ANSWER ||
        atomic_load_explicit(&pending->room_due_ns, memory_order_relaxed) != NEVER)
        return false;
    atomic_store_explicit(&pending->asked_bytes, (uint32_t)size, memory_order_relaxed);
    uint64_t now = clock_coarse_ns();
    __atomic_store_n(&tally.begun_ns, now, __ATOMIC_RELAXED);
    bool is_sampled = is_timed(now);
    bool is_precise = is_sampled || guard->response_ns < LONG_NS;
    uint64_t due_ns = (is_precise ? now = clock_now_ns() : now + TICK_NS) + guard->response_ns;
    /* The time first: who sees that an answer is awaited must not find an earlier one's. */
    atomic_store_explicit(&pending->answer_due_ns, due_ns, memory_order_relaxed);
    atomic_store_explicit(&entry->sent_us, is_sampled ? exchange_us(now) : 0, memory_order_relaxed);
    if (!own_replace_32(&entry->state, &state, (state & ~IDLE) | AWAITING_ANSWER))
        return false;
    if (!process_is_alone())
        atomic_thread_fence(memory_order_seq_cst);
    /* Mostly the slot is due before that: for an earlier answer, which has come. */
    if (!pending_is_due_by(pending, due_ns))
        deadline_answer(entry, number_of(pending, entry), due_ns - guard->response_ns);
    return true;
}

bool quick_answered(struct descriptor *entry)
{
    const struct guard *guard = descriptor_guard(entry);
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed), after;
    do {
        if (state & (NOT_SIMPLE | OPENING))
            return false;
        if (!(state & AWAITING_ANSWER))
            return !(state & HOLDS_TICKET);
        /* To a circuit that is harmed a success means something, and to a probe's. */
        if (!exchange_is_unharmed(entry) || (state & HOLDS_TICKET && entry->ticket.is_probe))
            return false;
        after = (state & ~(AWAITING_ANSWER | FIRST_EXCHANGE | HOLDS_TICKET)) | IDLE;
        if (state & FIRST_EXCHANGE)
            after |= SECOND_EXCHANGE;
    } while (!own_replace_32(&entry->state, &state, after));
    uint32_t sent_us = atomic_load_explicit(&entry->sent_us, memory_order_relaxed);
    struct host_handle host = {__atomic_load_n(&entry->host.host, __ATOMIC_RELAXED), entry->host.key};
    if (sent_us)
        host_took(host, LATENCY_FIRST_BYTE, (exchange_us(clock_now_ns()) - sent_us) * NS_PER_US);
    tally_add(host, guard->has_breaker ? &guard->breaker : NULL);
    return true;
}

/* A number that leads to it: the one that the slot knows may have been closed while a copy of it lives on. */
static int number_of(const struct pending *pending, const struct descriptor *entry)
{
    int fd = pending->fd;
    return descriptor_of(fd) == entry ? fd : descriptor_next_of(entry, 0);
}

static bool is_timed(uint64_t coarse_ns)
{
    uint32_t already = __atomic_load_n(&tally.timed, __ATOMIC_RELAXED);
    if (already < TIMED_AT_FIRST) {
        __atomic_store_n(&tally.timed, already + 1, __ATOMIC_RELAXED);
        return true;
    }
    if (__atomic_load_n(&tally.timed_ns, __ATOMIC_RELAXED) == coarse_ns)
        return false;
    __atomic_store_n(&tally.timed_ns, coarse_ns, __ATOMIC_RELAXED);
    return true;
}
