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

const char *passed_help(enum passed_reason reason)
{
    static const char *const helps[] = {
#define PASSED_REASON(name, help) help,
        PASSED_REASONS(PASSED_REASON)
#undef PASSED_REASON
    };
    return (unsigned)reason < PASSED_REASON_COUNT ? helps[reason] : "unknown";
}
