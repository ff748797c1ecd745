#include "history.h"

#include <stdlib.h>

#include "base/clock.h"
#include "message.h"
#include "printable.h"
#include "state/recorder.h"

#define PATIENCE  4        /* looks at an event that is being written: its writer may have been killed */
#define FUTURE_NS NS_PER_S /* an event from later than this is damage */

static void read_one(struct history *history, struct segment_file *file);
static bool is_to_come(const struct segment *segment, uint64_t number);
static void add(struct history *history, const struct segment_file *file, uint64_t number,
                const struct event *event);
static int by_time(const void *a, const void *b);

void history_read(struct history *history, const struct segments *segments)
{
    for (size_t i = 0; i < segments->count; i++)
        if (segments->files[i]->segment)
            read_one(history, segments->files[i]);
    if (history->count)
        qsort(history->moments, history->count, sizeof *history->moments, by_time);
}

void history_clear(struct history *history)
{
    history->count = 0;
    history->lost = 0;
}

void history_end(struct history *history)
{
    free(history->moments);
    *history = (struct history){.count = 0};
}

static void read_one(struct history *history, struct segment_file *file)
{
    const struct segment *segment = file->segment;
    uint64_t end = atomic_load_explicit(&segment->recorded, memory_order_acquire);
    bool is_first = file->next_event == 0;
    if (end < file->next_event)
        file->next_event = end; /* damaged: go on from here */
    if (end - file->next_event > RECORDER_SLOTS) {
        if (!is_first)
            history->lost += end - RECORDER_SLOTS - file->next_event;
        file->next_event = end - RECORDER_SLOTS;
    }
    for (; file->next_event < end; file->next_event++) {
        struct event event;
        bool is_read = recorder_read(segment, file->next_event, &event);
        if (!is_read && is_to_come(segment, file->next_event) && file->waited < PATIENCE && !is_first) {
            file->waited++;
            return;
        }
        file->waited = 0;
        if (is_read)
            add(history, file, file->next_event, &event);
        else if (!is_first)
            history->lost++;
    }
}

/* Being written, or about to be; else it is gone. */
static bool is_to_come(const struct segment *segment, uint64_t number)
{
    const struct recorder_slot *slot = &segment->recorder[number % RECORDER_SLOTS];
    return atomic_load_explicit(&slot->sequence, memory_order_relaxed) < 2 * number + 2;
}

static void add(struct history *history, const struct segment_file *file, uint64_t number,
                const struct event *event)
{
    if (event->kind >= EVENT_KINDS || event->time_ns > clock_now_ns() + FUTURE_NS)
        return; /* damaged */
    if (history->count == history->room) {
        history->room = history->room ? 2 * history->room : 256;
        history->moments = grow(history->moments, history->room * sizeof *history->moments);
    }
    struct moment *moment = &history->moments[history->count++];
    *moment = (struct moment){.event = *event, .file = file, .number = number};
    printable(moment->event.program);
    printable(moment->event.target);
    printable(moment->event.fault);
}

static int by_time(const void *a, const void *b)
{
    const struct moment *first = a, *second = b;
    if (first->event.time_ns != second->event.time_ns)
        return first->event.time_ns < second->event.time_ns ? -1 : 1;
    return first->number < second->number ? -1 : first->number > second->number;
}
