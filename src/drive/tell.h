/* Says what was decided: to the recorder always, to the log where there is one. Async-signal-safe. */
#ifndef DRIVE_TELL_H
#define DRIVE_TELL_H

#include "policy/call.h"
#include "report/event.h"

/* Fills in time, process and program. */
void tell(struct event *event);

/* Why a call failed, for events. */
enum given_up_reason given_up_because(enum call_why why);

/* An event about that target ("payments.internal:443"). */
struct event event_about(enum event_kind kind, const char *target);

#endif
