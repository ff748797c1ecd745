#include "drive/late.h"

#include <errno.h>

#include "drive/exchange.h"
#include "state/latencies.h"

static void tell_late(struct descriptor *entry, enum event_kind kind, uint64_t window_ns, uint64_t took_ns);

void late_received(struct descriptor *entry, const struct transfer *transfer, bool was_awaiting,
                   uint64_t began_ns)
{
    const struct guard *guard = descriptor_guard(entry);
    uint64_t recv_ns = guard->would.recv_ns, response_ns = guard->would.response_ns;
    bool is_for_answer = was_awaiting && response_ns && response_ns <= recv_ns; /* late_answer says it */
    if (!recv_ns || is_for_answer || !began_ns ||
        transfer->flags & (MSG_DONTWAIT | MSG_ERRQUEUE | MSG_WAITALL))
        return;
    uint64_t took_ns = clock_now_ns() - began_ns;
    if (took_ns > recv_ns && transfer_is_same(entry, transfer->fd))
        tell_late(entry, EVENT_TIMEOUT_RECV, recv_ns, took_ns);
}

void late_sent(struct descriptor *entry, ssize_t result, uint64_t began_ns)
{
    const struct guard *guard = descriptor_guard(entry);
    uint64_t now = clock_now_ns(), send_ns = guard->would.send_ns;
    if (result > 0)
        atomic_store_explicit(&entry->sent_us, exchange_us(now), memory_order_relaxed);
    /* A call that moves much may have waited for room several times, each time for less: that cannot be told. */
    bool is_one_wait = result < 0 || (size_t)result < LARGE_BYTES;
    if (send_ns && began_ns && is_one_wait && now - began_ns > send_ns)
        tell_late(entry, EVENT_TIMEOUT_SEND, send_ns, now - began_ns);
}

bool late_answer(struct descriptor *entry)
{
    uint64_t response_ns = descriptor_guard(entry)->would.response_ns;
    uint32_t sent_us = atomic_load_explicit(&entry->sent_us, memory_order_relaxed);
    if (!response_ns || !sent_us)
        return false;
    uint64_t took_ns = (uint64_t)(exchange_us(clock_now_ns()) - sent_us) * NS_PER_US;
    if (took_ns <= response_ns)
        return false;
    tell_late(entry, EVENT_TIMEOUT_RESPONSE, response_ns, took_ns);
    return true;
}

static void tell_late(struct descriptor *entry, enum event_kind kind, uint64_t window_ns, uint64_t took_ns)
{
    int error = errno;
    host_count(entry->host, HOST_SHADOWED);
    host_count(entry->host, HOST_WOULD_CUT);
    host_spared(entry->host, took_ns - window_ns);
    struct event event = event_about(kind, descriptor_target(entry).text);
    event.duration_ns = window_ns;
    event.error = ETIMEDOUT;
    event.flags = EVENT_SHADOW;
    tell(&event);
    errno = error;
}
