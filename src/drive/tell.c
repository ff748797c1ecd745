#include "drive/tell.h"

#include <string.h>

#include "state/recorder.h"

void tell(struct event *event)
{
    recorder_note(event);
    recorder_log(event);
}

enum given_up_reason given_up_because(enum call_why why)
{
    switch (why) {
    case CALL_NOT_RETRYABLE:
        return GIVEN_UP_NOT_RETRYABLE;
    case CALL_RETRIES_USED_UP:
        return GIVEN_UP_RETRIES;
    case CALL_TIME_USED_UP:
        return GIVEN_UP_TOTAL;
    case CALL_BUDGET_USED_UP:
        return GIVEN_UP_BUDGET;
    case CALL_PROBE_FAILED:
        return GIVEN_UP_PROBE;
    case CALL_INTERRUPTED:
        return GIVEN_UP_SIGNAL;
    }
    return GIVEN_UP_UNKNOWN;
}

struct event event_about(enum event_kind kind, const char *target)
{
    struct event event = {.kind = (uint16_t)kind};
    memcpy(event.target, target, strnlen(target, sizeof event.target - 1));
    return event;
}
