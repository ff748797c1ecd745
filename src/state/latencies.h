/* How long things took at a host, counted by all processes. Lock-free and async-signal-safe. */
#ifndef STATE_LATENCIES_H
#define STATE_LATENCIES_H

#include "state/breakers.h"

static inline void host_took(struct host_handle handle, enum latency_kind kind, uint64_t ns)
{
    if (!handle.host)
        return;
    struct latency_words *words = &handle.host->latencies[kind];
    atomic_fetch_add_explicit(&words->counts[latency_bucket(ns)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&words->sum_ns, ns, memory_order_relaxed);
}

/* A call in shadow waited for so long, which it would not have if its rule were enforced. */
static inline void host_spared(struct host_handle handle, uint64_t ns)
{
    if (handle.host)
        atomic_fetch_add_explicit(&handle.host->spared_ns, ns, memory_order_relaxed);
}

#endif
