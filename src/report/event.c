#include "report/event.h"

#include <stddef.h>

const char *event_name(enum event_kind kind)
{
    static const char *const names[] = {
#define EVENT(kind, name, help) name,
#include "report/events.def"
#undef EVENT
    };
    return (unsigned)kind < EVENT_KINDS ? names[kind] : "unknown";
}

const char *event_help(enum event_kind kind)
{
    static const char *const helps[] = {
#define EVENT(kind, name, help) help,
#include "report/events.def"
#undef EVENT
    };
    return (unsigned)kind < EVENT_KINDS ? helps[kind] : "";
}

const char *passed_name(enum passed_reason reason)
{
    static const char *const names[] = {
#define PASSED_REASON(name, text, help) text,
        PASSED_REASONS(PASSED_REASON)
#undef PASSED_REASON
    };
    return (unsigned)reason < PASSED_REASON_COUNT ? names[reason] : "unknown";
}

const char *passed_help(enum passed_reason reason)
{
    static const char *const helps[] = {
#define PASSED_REASON(name, text, help) help,
        PASSED_REASONS(PASSED_REASON)
#undef PASSED_REASON
    };
    return (unsigned)reason < PASSED_REASON_COUNT ? helps[reason] : "unknown";
}

const char *event_reason(const struct event *event)
{
    static const char *const given_up[] = {
#define REASON(name, text, help) text,
        GIVEN_UP_REASONS(REASON)
#undef REASON
    };
    static const char *const steered[] = {
#define STEERED(name, text, help) text,
        STEERINGS(STEERED)
#undef STEERED
    };
    static const char *const skipped[] = {
#define SKIPPED(name, text, help) text,
        SKIPPED_REASONS(SKIPPED)
#undef SKIPPED
    };
    static const char *const unbound[] = {
#define REASON(name, text, help) text,
        UNBOUND_REASONS(REASON)
#undef REASON
    };
    const char *reason = NULL;
    unsigned why = event->count >> 8 & 0xff;
    if (event->kind == EVENT_FUNCTION_UNBOUND)
        reason = event->count < UNBOUND_REASON_COUNT ? unbound[event->count] : NULL;
    else if (event->kind == EVENT_CONNECT_FAILED || event->kind == EVENT_LOOKUP_FAILED ||
             event->kind == EVENT_FUNCTION_FAILED)
        reason = event->count < GIVEN_UP_REASON_COUNT ? given_up[event->count] : NULL;
    else if (event->kind == EVENT_STEERED)
        reason = event->count < STEERED_COUNT ? steered[event->count] : NULL;
    else if (event->kind == EVENT_RUNG_SKIPPED)
        reason = why < SKIPPED_COUNT ? skipped[why] : NULL;
    else if (event->kind == EVENT_DEGRADED)
        reason = rung_name(event_rung(event));
    else if (event->kind == EVENT_PASSED_THROUGH)
        reason = passed_name((enum passed_reason)event->count);
    return reason && *reason ? reason : NULL;
}

enum rung_kind event_rung(const struct event *event)
{
    unsigned rung = event->count & 0xff;
    bool is_told = event->kind == EVENT_DEGRADED || event->kind == EVENT_RUNG_SKIPPED;
    return is_told && rung < RUNG_KINDS ? (enum rung_kind)rung : RUNG_FULL;
}
