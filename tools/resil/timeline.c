#include "timeline.h"

#include <stdbool.h>
#include <stdlib.h>

#include "message.h"

static bool changes(const struct event *event, enum circuit_state *before, enum circuit_state *after);
static void add(struct timeline *timeline, enum circuit_state state, uint64_t from_ns, uint64_t to_ns);

struct timeline timeline_of(const struct host_view *host, const struct moment *const *moments, size_t count,
                            uint64_t from_ns, uint64_t to_ns)
{
    struct timeline timeline = {.count = 0};
    enum circuit_state state = circuit_state_of(host), before, after;
    bool is_known = false;
    uint64_t since_ns = from_ns;
    for (size_t i = 0; i < count; i++) {
        uint64_t at_ns = moments[i]->event.time_ns;
        if (!changes(&moments[i]->event, &before, &after))
            continue;
        if (at_ns > from_ns)
            add(&timeline, is_known ? state : before, since_ns, at_ns);
        since_ns = at_ns > from_ns ? at_ns : from_ns;
        state = after;
        is_known = true;
    }
    /* An open circuit whose probe is due stays so until somebody calls: there is no event of that. */
    add(&timeline, is_known ? state : circuit_state_of(host), since_ns, to_ns);
    return timeline;
}

void timeline_end(struct timeline *timeline)
{
    free(timeline->spans);
    *timeline = (struct timeline){.count = 0};
}

enum circuit_state circuit_state_of(const struct host_view *host)
{
    if (host->steering != STEERING_AUTO)
        return host->steering == STEERING_OPEN ? CIRCUIT_HELD_OPEN : CIRCUIT_HELD_CLOSED;
    return host->breaker.state == BREAKER_OPEN        ? CIRCUIT_OPEN
           : host->breaker.state == BREAKER_HALF_OPEN ? CIRCUIT_HALF_OPEN
                                                      : CIRCUIT_CLOSED;
}

const char *circuit_state_name(enum circuit_state state)
{
    static const char *const names[] = {
        [CIRCUIT_CLOSED] = "closed",           [CIRCUIT_OPEN] = "open",
        [CIRCUIT_HALF_OPEN] = "half-open",     [CIRCUIT_HELD_OPEN] = "held open",
        [CIRCUIT_HELD_CLOSED] = "held closed",
    };
    return names[state];
}

static bool changes(const struct event *event, enum circuit_state *before, enum circuit_state *after)
{
    *before = CIRCUIT_CLOSED;
    switch ((enum event_kind)event->kind) {
    case EVENT_OPENED:
        *after = CIRCUIT_OPEN;
        return true;
    case EVENT_REOPENED:
        *before = CIRCUIT_HALF_OPEN;
        *after = CIRCUIT_OPEN;
        return true;
    case EVENT_PROBE:
        *before = CIRCUIT_OPEN;
        *after = CIRCUIT_HALF_OPEN;
        return true;
    case EVENT_CLOSED:
        *before = CIRCUIT_HALF_OPEN;
        *after = CIRCUIT_CLOSED;
        return true;
    case EVENT_STEERED:
        *after = event->count == STEERED_OPEN     ? CIRCUIT_HELD_OPEN
                 : event->count == STEERED_CLOSED ? CIRCUIT_HELD_CLOSED
                                                  : CIRCUIT_CLOSED;
        return true;
    default:
        return false;
    }
}

static void add(struct timeline *timeline, enum circuit_state state, uint64_t from_ns, uint64_t to_ns)
{
    if (timeline->count && timeline->spans[timeline->count - 1].state == state) {
        timeline->spans[timeline->count - 1].to_ns = to_ns;
        return;
    }
    timeline->spans = grow(timeline->spans, (timeline->count + 1) * sizeof *timeline->spans);
    timeline->spans[timeline->count++] = (struct span){state, from_ns, to_ns};
}
