#include "drive/exchange.h"

#include <errno.h>

#include "state/process.h"

static void report(struct descriptor *entry, enum breaker_report what);

bool exchange_begin(struct descriptor *entry)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    do {
        if (!(state & IDLE))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&entry->state, &state, (state & ~IDLE) | AWAITING_ANSWER,
                                                    memory_order_acq_rel, memory_order_relaxed));
    return true;
}

void exchange_undo(struct descriptor *entry)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    while (state & AWAITING_ANSWER &&
           !atomic_compare_exchange_weak_explicit(&entry->state, &state, (state & ~AWAITING_ANSWER) | IDLE,
                                                  memory_order_acq_rel, memory_order_relaxed))
        ;
}

void exchange_answered(struct descriptor *entry, const struct transfer *transfer)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    if (transfer->flags & MSG_ERRQUEUE)
        return;
    /* A server that speaks first proves that it is there as well as one that answers. */
    do {
        if (!(state & (AWAITING_ANSWER | HOLDS_TICKET)))
            return;
    } while (!atomic_compare_exchange_weak_explicit(
        &entry->state, &state, (state & ~(AWAITING_ANSWER | FIRST_EXCHANGE | ANSWER_OVERDUE)) | IDLE,
        memory_order_acq_rel, memory_order_relaxed));
    if (state & ANSWER_OVERDUE)
        return; /* the exchange has been counted, as a failure */
    if (state & AWAITING_ANSWER)
        host_count(entry->host, HOST_ANSWERED);
    report(entry, BREAKER_SUCCESS);
}

void exchange_broken(struct descriptor *entry, int error)
{
    /* Only what the peer or the way to it has done: EINVAL, EFAULT and their like are the program's. */
    if (error && error != ECONNRESET && error != EPIPE && error != ETIMEDOUT && error != EHOSTUNREACH &&
        error != ENETUNREACH)
        return;
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    uint32_t after;
    do {
        if (!(state & AWAITING_ANSWER) || state & ANSWER_OVERDUE)
            return;
        /* After a timeout the answer is still awaited, so that the next wait is bounded too, but it counts once. */
        after = error == ETIMEDOUT ? state | ANSWER_OVERDUE : (state & ~AWAITING_ANSWER) | IDLE;
    } while (!atomic_compare_exchange_weak_explicit(&entry->state, &state, after, memory_order_acq_rel,
                                                    memory_order_relaxed));
    /* A later exchange that is cut off is mostly a keep-alive connection that went stale: says nothing of the host. */
    if (error != ETIMEDOUT && !(state & FIRST_EXCHANGE))
        return;
    int before = errno;
    host_count(entry->host, HOST_UNANSWERED);
    if (error != ETIMEDOUT) {
        struct event event = event_about(EVENT_NO_ANSWER, descriptor_target(entry).text);
        event.error = error;
        tell(&event);
    }
    report(entry, BREAKER_FAILURE);
    errno = before;
}

void exchange_trusted(struct descriptor *entry)
{
    if (atomic_load_explicit(&entry->state, memory_order_relaxed) & HOLDS_TICKET)
        report(entry, BREAKER_SUCCESS);
}

void exchange_abandoned(struct descriptor *entry)
{
    /* A fork child that closes its copy gives nothing back: the probe is still its parent's. */
    if (atomic_load_explicit(&entry->state, memory_order_relaxed) & HOLDS_TICKET &&
        entry->owner == process_id())
        report(entry, BREAKER_NEUTRAL);
}

static void report(struct descriptor *entry, enum breaker_report what)
{
    const struct guard *guard = descriptor_guard(entry);
    const struct host_handle host = {__atomic_load_n(&entry->host.host, __ATOMIC_RELAXED), entry->host.key};
    uint32_t before = atomic_fetch_and_explicit(&entry->state, ~HOLDS_TICKET, memory_order_acq_rel);
    if (!guard->has_breaker || !host.host)
        return;
    struct breaker_ticket ticket = entry->ticket;
    if (!(before & HOLDS_TICKET)) {
        uint64_t word = atomic_load_explicit(&host.host->breaker, memory_order_relaxed);
        struct breaker_view view = breaker_view(word);
        /* The common case on a healthy connection: nothing to reset, only to count. */
        if (what == BREAKER_SUCCESS && view.state == BREAKER_CLOSED && !view.failures) {
            breakers_succeeded(host, &guard->breaker);
            return;
        }
        ticket = (struct breaker_ticket){.generation = view.generation, .is_probe = false};
    }
    connect_report(host, descriptor_target(entry).text, &guard->breaker, guard->breaker_error, ticket, what,
                   process_next_seed(), false);
}
