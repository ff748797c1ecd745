/* By which rung of its rule's ladder a host was served last. Shared, as the circuits are. */
#ifndef STATE_SERVED_H
#define STATE_SERVED_H

#include "policy/ladder.h"
#include "state/breakers.h"

/* A call was served by that rung; by the host itself: RUNG_FULL. */
void served_note(struct host_handle handle, enum rung_kind rung, uint64_t now_ns);

/* The same, and counts it; RUNG_ERROR: nothing could serve it. */
void served_told(struct host_handle handle, enum rung_kind rung, uint64_t now_ns);

/* The same for a call that got what it asked for: costs nothing where that has been so before. */
static inline void served_fully(struct host_handle handle)
{
    if (handle.host && atomic_load_explicit(&handle.host->served, memory_order_relaxed))
        atomic_store_explicit(&handle.host->served, RUNG_FULL, memory_order_relaxed);
}

/* What it was, and how many milliseconds ago; for tools too. */
struct served {
    enum rung_kind rung;
    uint64_t ago_ms;
};
struct served served_last(const struct host *host, uint64_t now_ns);

/* From the first call on that falls back, new connections stay there for `stick_ns`. */
void served_stay(struct host_handle handle, uint64_t stick_ns, uint64_t now_ns);
bool served_stays(struct host_handle handle, uint64_t now_ns);
/* Or no longer, as nothing there serves them. */
void served_move_on(struct host_handle handle);

#endif
