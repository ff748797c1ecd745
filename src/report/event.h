/* One thing that happened, as it is recorded, counted, logged and shown. */
#ifndef REPORT_EVENT_H
#define REPORT_EVENT_H

#include <stdbool.h>
#include <stdint.h>

enum event_kind {
#define EVENT(kind, name, help) EVENT_##kind,
#include "report/events.def"
#undef EVENT
    EVENT_KINDS
};

/* Decided and recorded, but not carried out (`enforce:`). */
#define EVENT_SHADOW 1u

/* Fixed size, no pointers: it lives in shared memory and is read by other programs. */
struct event {
    uint64_t time_ns;     /* CLOCK_MONOTONIC */
    uint64_t duration_ns; /* of the call so far */
    uint64_t delay_ns;    /* until the next attempt; for a circuit: until the next probe */
    uint32_t pid;
    int32_t error; /* errno, for lookups the EAI code; 0 = none */
    uint16_t kind; /* enum event_kind */
    uint16_t flags;
    uint16_t attempt;  /* from 1 */
    uint16_t attempts; /* at most */
    uint32_t count;    /* what the kind says: failures in a row, why a call passed through */
    char program[16];
    char target[60]; /* "payments.internal:443" */
    uint8_t address
        [16]; /* which of the name's addresses was tried, IPv4 in its v4-mapped form; zeroes: it has one only */
};
_Static_assert(sizeof(struct event) == 136, "there is no padding in what is shared");

const char *event_name(enum event_kind kind);
const char *event_help(enum event_kind kind);

/* Why a call that a rule may have wanted went through untouched. Each is counted. */
#define PASSED_REASONS(X)                                                                                    \
    X(LOADING, "rules are being read by another thread")                                                     \
    X(NESTED, "a call from inside a lookup or from our own code")                                            \
    X(NO_MEMORY, "no memory")                                                                                \
    X(NON_BLOCKING, "a non-blocking descriptor")                                                             \
    X(NOT_TCP, "not TCP")                                                                                    \
    X(STALE, "the descriptor is not the one that was remembered")                                            \
    X(NOT_OURS, "memory shared with a vfork child")                                                          \
    X(TABLE_FULL, "the table of hosts is full")                                                              \
    X(PRIVATE, "state could not be shared: private memory instead")                                          \
    X(LOG_LOST, "a log line could not be written")                                                           \
    X(CANCEL_FAILED, "an attempt could not be taken back")                                                   \
    X(LOOKUP_DIRECT, "a lookup could not be timed as finely as its rule asks")
enum passed_reason {
#define PASSED_REASON(name, help) PASSED_##name,
    PASSED_REASONS(PASSED_REASON)
#undef PASSED_REASON
        PASSED_REASON_COUNT
};
const char *passed_help(enum passed_reason reason);

/* The sentence for people, without "libresil: " in front and without a newline. `error` texts come from a table of our
 * own: strerror takes locks and locales. */
struct event_text {
    char text[256];
};
struct event_text event_text(const struct event *event);
/* The address that was tried; empty where there is no choice. */
struct event_address {
    char text[46];
};
struct event_address event_address(const struct event *event);
struct text;
void event_say(const struct event *event, struct text *text); /* the same, appended */

#endif
