#include "state/recorder.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "report/sink.h"
#include "state/process.h"

void recorder_note(struct event *event)
{
    if (!event->time_ns)
        event->time_ns = clock_now_ns();
    if (!event->pid)
        event->pid = process_id();
    memcpy(event->program, settings.program, sizeof event->program);
    struct segment *segment = segment_current;
    if (!segment)
        return;
    if (event->kind < EVENT_KINDS)
        atomic_fetch_add_explicit(&segment->events[event->kind], 1, memory_order_relaxed);

    uint64_t number = atomic_fetch_add_explicit(&segment->recorded, 1, memory_order_relaxed);
    struct recorder_slot *slot = &segment->recorder[number % RECORDER_SLOTS];
    uint64_t before = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
    /* A writer that was overtaken by a whole lap leaves the place to the newer event. One that was killed here left an
     * older odd number behind, which is taken over. */
    do {
        if (before > 2 * number + 1)
            return;
    } while (!atomic_compare_exchange_weak_explicit(&slot->sequence, &before, 2 * number + 1,
                                                    memory_order_acquire, memory_order_relaxed));
    slot->event = *event;
    uint64_t mine = 2 * number + 1;
    atomic_compare_exchange_strong_explicit(&slot->sequence, &mine, 2 * number + 2, memory_order_release,
                                            memory_order_relaxed);
}

void recorder_log(const struct event *event)
{
    switch (sink_event(event)) {
    case SUNK_WRITTEN:
        break;
    case SUNK_LOST:
        segment_passed(PASSED_LOG_LOST);
        break;
    case SUNK_THINNED:
        segment_passed(PASSED_LOG_THINNED);
        break;
    }
}

bool recorder_read(const struct segment *segment, uint64_t number, struct event *event)
{
    const struct recorder_slot *slot = &segment->recorder[number % RECORDER_SLOTS];
    if (atomic_load_explicit(&slot->sequence, memory_order_acquire) != 2 * number + 2)
        return false;
    *event = slot->event;
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&slot->sequence, memory_order_relaxed) != 2 * number + 2)
        return false;
    /* Shared memory is not trusted: nothing that is read from it may run on. */
    event->program[sizeof event->program - 1] = '\0';
    event->target[sizeof event->target - 1] = '\0';
    event->fault[sizeof event->fault - 1] = '\0';
    return true;
}
