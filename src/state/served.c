#include "state/served.h"

#include "base/clock.h"

#define RUNG_BITS  8
#define LONGEST_NS (24 * 3600 * NS_PER_S) /* a rule says no more: what is further off is damage */

void served_note(struct host_handle handle, enum rung_kind rung, uint64_t now_ns)
{
    if (handle.host)
        atomic_store_explicit(&handle.host->served, now_ns / NS_PER_MS << RUNG_BITS | (uint64_t)rung,
                              memory_order_relaxed);
}

void served_told(struct host_handle handle, enum rung_kind rung, uint64_t now_ns)
{
    host_count(handle, rung == RUNG_ERROR ? HOST_UNSERVED : HOST_DEGRADED);
    served_note(handle, rung, now_ns);
}

struct served served_last(const struct host *host, uint64_t now_ns)
{
    uint64_t word = atomic_load_explicit(&host->served, memory_order_relaxed);
    uint64_t rung = word & ((1u << RUNG_BITS) - 1), at_ms = word >> RUNG_BITS, now_ms = now_ns / NS_PER_MS;
    return (struct served){
        .rung = rung < RUNG_KINDS ? (enum rung_kind)rung : RUNG_FULL,
        .ago_ms = at_ms < now_ms ? now_ms - at_ms : 0,
    };
}

void served_stay(struct host_handle handle, uint64_t stick_ns, uint64_t now_ns)
{
    if (stick_ns && handle.host && !served_stays(handle, now_ns))
        atomic_store_explicit(&handle.host->stays_until_ns, now_ns + stick_ns, memory_order_relaxed);
}

bool served_stays(struct host_handle handle, uint64_t now_ns)
{
    uint64_t until =
        handle.host ? atomic_load_explicit(&handle.host->stays_until_ns, memory_order_relaxed) : 0;
    return until > now_ns && until - now_ns <= LONGEST_NS;
}

void served_move_on(struct host_handle handle)
{
    if (handle.host && atomic_load_explicit(&handle.host->stays_until_ns, memory_order_relaxed))
        atomic_store_explicit(&handle.host->stays_until_ns, 0, memory_order_relaxed);
}
