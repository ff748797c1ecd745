#include "loops.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "message.h"

#define CALLS_LEAST 5
#define GAP_MOST_NS NS_PER_S
#define GAPS_KEPT   256 /* of a run: enough to see whether they grow */

/* Calls of one process to one target that failed, without a longer pause between them. */
struct run {
    const struct segment_file *file;
    struct event last;
    uint64_t began_ns, calls;
    uint64_t gaps_ns[GAPS_KEPT];
    size_t gap_count;
};

static bool is_failure(const struct event *event);
static uint64_t calls_of(const struct event *event);
static void add_to_run(struct run **runs, size_t *count, struct loops *loops, const struct moment *moment);
static void end_run(struct loops *loops, const struct run *run);
static uint64_t median_ns(const uint64_t *gaps_ns, size_t count);
static int by_size(const void *a, const void *b);
static int by_calls(const void *a, const void *b);

struct loops loops_find(const struct moment *moments, size_t count)
{
    struct loops loops = {.count = 0};
    struct run *runs = NULL;
    size_t run_count = 0;
    for (size_t i = 0; i < count; i++)
        if (is_failure(&moments[i].event))
            add_to_run(&runs, &run_count, &loops, &moments[i]);
    for (size_t i = 0; i < run_count; i++)
        end_run(&loops, &runs[i]);
    free(runs);
    if (loops.count)
        qsort(loops.loops, loops.count, sizeof *loops.loops, by_calls);
    return loops;
}

void loops_end(struct loops *loops)
{
    free(loops->loops);
    *loops = (struct loops){.count = 0};
}

/* A call that the program had an error from. In shadow it has that one as well, if by another way. */
static bool is_failure(const struct event *event)
{
    switch ((enum event_kind)event->kind) {
    case EVENT_CONNECT_FAILED:
        return true;
    case EVENT_REJECTED:
    case EVENT_LIMIT_CONNECTIONS:
    case EVENT_LIMIT_RATE:
    case EVENT_LOOKUP_FAILED:
    case EVENT_NO_ANSWER:
    case EVENT_TIMEOUT_RESPONSE:
        return !(event->flags & EVENT_SHADOW);
    default:
        return false;
    }
}

/* Where there are too many of a kind, one stands for several. */
static uint64_t calls_of(const struct event *event)
{
    bool is_sampled = event->kind == EVENT_REJECTED || event->kind == EVENT_LIMIT_CONNECTIONS ||
                      event->kind == EVENT_LIMIT_RATE;
    return is_sampled && event->count ? event->count : 1;
}

static void add_to_run(struct run **runs, size_t *count, struct loops *loops, const struct moment *moment)
{
    const struct event *event = &moment->event;
    uint64_t calls = calls_of(event);
    struct run *run = NULL;
    for (size_t i = 0; i < *count && !run; i++)
        if ((*runs)[i].file == moment->file && (*runs)[i].last.pid == event->pid &&
            strcmp((*runs)[i].last.target, event->target) == 0)
            run = &(*runs)[i];
    if (!run) {
        *runs = grow(*runs, (*count + 1) * sizeof **runs);
        run = &(*runs)[(*count)++];
        run->calls = 0;
    }
    uint64_t gap_ns = run->calls ? (event->time_ns - run->last.time_ns) / calls : 0;
    if (run->calls && gap_ns > GAP_MOST_NS) {
        end_run(loops, run);
        run->calls = 0;
    }
    if (!run->calls) {
        run->file = moment->file;
        run->began_ns = event->time_ns;
        run->gap_count = 0;
    } else if (run->gap_count < GAPS_KEPT) {
        run->gaps_ns[run->gap_count++] = gap_ns;
    }
    run->calls += calls;
    run->last = *event;
}

static void end_run(struct loops *loops, const struct run *run)
{
    if (run->calls < CALLS_LEAST || run->gap_count < 2)
        return;
    size_t half = run->gap_count / 2;
    uint64_t early_ns = median_ns(run->gaps_ns, half),
             late_ns = median_ns(run->gaps_ns + half, run->gap_count - half);
    if (late_ns >= 2 * early_ns && late_ns > NS_PER_MS)
        return; /* it waits longer each time */
    struct loop found = {.file = run->file,
                         .calls = run->calls,
                         .gap_ns = median_ns(run->gaps_ns, run->gap_count),
                         .took_ns = run->last.time_ns - run->began_ns,
                         .runs = 1};
    memcpy(found.program, run->last.program, sizeof found.program);
    memcpy(found.target, run->last.target, sizeof found.target);
    for (size_t i = 0; i < loops->count; i++) {
        struct loop *known = &loops->loops[i];
        if (known->file != found.file || strcmp(known->program, found.program) != 0 ||
            strcmp(known->target, found.target) != 0)
            continue;
        if (found.calls > known->calls)
            known->gap_ns = found.gap_ns; /* of the longer one */
        known->calls += found.calls;
        known->took_ns += found.took_ns;
        known->runs++;
        return;
    }
    loops->loops = grow(loops->loops, (loops->count + 1) * sizeof *loops->loops);
    loops->loops[loops->count++] = found;
}

static uint64_t median_ns(const uint64_t *gaps_ns, size_t count)
{
    uint64_t sorted[GAPS_KEPT];
    memcpy(sorted, gaps_ns, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_size);
    return sorted[count / 2];
}

static int by_size(const void *a, const void *b)
{
    uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;
    return first < second ? -1 : first > second;
}

static int by_calls(const void *a, const void *b)
{
    const struct loop *first = a, *second = b;
    if (first->calls != second->calls)
        return first->calls < second->calls ? 1 : -1;
    return strcmp(first->target, second->target);
}
