/* One thing that happened, as it is recorded, counted, logged and shown. */
#ifndef REPORT_EVENT_H
#define REPORT_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/ladder.h"

enum event_kind {
#define EVENT(kind, name, help) EVENT_##kind,
#include "report/events.def"
#undef EVENT
    EVENT_KINDS
};

/* Decided and recorded, but not carried out (`enforce:`). */
#define EVENT_SHADOW 1u
/* The program got what is declared for such a call instead of what came of it. */
#define EVENT_DEFAULT 2u
/* The circuit is half-open: a probe is under way, and what is decided next depends on it. */
#define EVENT_PROBING 4u
/* DEGRADED and RUNG_SKIPPED: it is about a lookup, and `error` is its EAI code. */
#define EVENT_LOOKUP 8u
/* LIMIT_WAIT: it waited for a token of the rate, not for a place among the connections. */
#define EVENT_OF_RATE 16u
/* Of an opening: calls go down their rule's ladder, and get no error yet. */
#define EVENT_LADDER 32u

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
    uint32_t
        count; /* what the kind says: failures in a row, or one of the reasons below. DEGRADED and RUNG_SKIPPED: the
                        * port, the rung and (SKIPPED) the reason, as EVENT_OF_RUNG packs them */
    char program[16];
    char fault[32];  /* its name, cut; empty unless the event is about one, or about a limit: event_rule */
    char target[60]; /* "payments.internal:443" */
    uint8_t address
        [16]; /* which of the name's addresses was tried, IPv4 in its v4-mapped form; zeroes: it has one only */
};
/* What an event about a fault says where others have their attempts: enum fault_operation, and the place of the call in
 * the fault's slot of the segment + 1 (0 = not known) with enum fault_kind above it. */
#define event_operation      attempt
#define event_site(event)    ((event)->attempts & 0xffu)
#define event_kind_of(event) ((event)->attempts >> 8)
_Static_assert(sizeof(struct event) == 168, "there is no padding in what is shared");

/* What an event about a limit says where others have their delay and their fault: the limit, 0 = not known, and the name of the
 * rule that sets it. */
#define event_limit delay_ns
#define event_rule  fault

#define EVENT_OF_RUNG(rung, why, port) ((uint32_t)(port) << 16 | (uint32_t)(why) << 8 | (uint32_t)(rung))

const char *event_name(enum event_kind kind);
const char *event_help(enum event_kind kind);

/* Why a call was given up, as CONNECT_FAILED and LOOKUP_FAILED tell it. REASON(NAME, "name", for the sentence) */
#define GIVEN_UP_REASONS(REASON)                                                                             \
    REASON(UNKNOWN, "", "")                                                                                  \
    REASON(NOT_RETRYABLE, "not_retryable", "its rule retries no such failure")                               \
    REASON(RETRIES, "retries", "no retries are left")                                                        \
    REASON(TOTAL, "total", "`total` is used up")                                                             \
    REASON(BUDGET, "budget", "the retry budget is used up")                                                  \
    REASON(PROBE, "probe", "a probe is not retried")                                                         \
    REASON(NOT_PARKED, "not_parked", "it cannot be kept silent until another attempt")                       \
    REASON(SIGNAL, "signal", "the program was interrupted by a signal")
enum given_up_reason {
#define REASON(name, text, help) GIVEN_UP_##name,
    GIVEN_UP_REASONS(REASON)
#undef REASON
        GIVEN_UP_REASON_COUNT
};

/* What somebody did to a circuit by hand, as STEERED tells it. */
#define STEERINGS(STEERED)                                                                                   \
    STEERED(AUTO, "auto", "circuit given back: closed, and outcomes decide again")                           \
    STEERED(OPEN, "open", "circuit held open: calls fail at once")                                           \
    STEERED(CLOSED, "close", "circuit held closed: calls go through, whatever becomes of them")              \
    STEERED(RESET, "reset", "circuit reset: closed, and failures are counted anew")
enum steered {
#define STEERED(name, text, help) STEERED_##name,
    STEERINGS(STEERED)
#undef STEERED
        STEERED_COUNT
};

/* Why a rung could not serve, as RUNG_SKIPPED tells it. */
#define SKIPPED_REASONS(SKIPPED)                                                                             \
    SKIPPED(FAILED, "failed", "it failed too")                                                               \
    SKIPPED(OPEN, "open", "its circuit is open")                                                             \
    SKIPPED(UNKNOWN, "unknown", "its name has not been looked up yet")                                       \
    SKIPPED(FAMILY, "family", "it has no address of the socket's family")                                    \
    SKIPPED(SAME, "same", "it is what has just failed")                                                      \
    SKIPPED(NO_LOOPBACK, "no_loopback", "the socket cannot reach loopback")                                  \
    SKIPPED(NO_ROOM, "no_room", "the answer does not fit in a socket's buffer")                              \
    SKIPPED(STRANGER, "stranger", "somebody else came first")                                                \
    SKIPPED(NO_ANSWER, "no_answer", "no good answer is known")                                               \
    SKIPPED(TOO_OLD, "too_old", "the last good answer is too old")
enum skipped_reason {
#define SKIPPED(name, text, help) SKIPPED_##name,
    SKIPPED_REASONS(SKIPPED)
#undef SKIPPED
        SKIPPED_COUNT
};

/* Why a declared function is not under its policy, or not everywhere, as FUNCTION_UNBOUND tells it. */
#define UNBOUND_REASONS(REASON)                                                                              \
    REASON(NO_MEMORY, "no_memory", "this process may not have executable memory of its own")                 \
    REASON(NO_CHECK, "no_check", "the function of its check or cleanup is in no library")                    \
    REASON(FULL, "full", "too many functions are bound already")                                             \
    REASON(AMBIGUOUS, "ambiguous", "several functions have the name, and some calls may mean any of them")   \
    REASON(PROTECTED, "protected", "addresses that it is called by may not be changed")                      \
    REASON(NO_SYMBOL, "no_symbol", "its library is there, and has no function of that name")
enum unbound_reason {
#define REASON(name, text, help) UNBOUND_##name,
    UNBOUND_REASONS(REASON)
#undef REASON
        UNBOUND_REASON_COUNT
};

/* Why a call that a rule may have wanted went through untouched, or was done in part only. Each is counted.
 * X(NAME, "name", help) */
#define PASSED_REASONS(X)                                                                                    \
    X(LOADING, "loading", "rules were being read by another thread, which took long")                        \
    X(NESTED, "nested", "a call from inside a lookup or from our own code")                                  \
    X(NO_MEMORY, "no_memory", "no memory")                                                                   \
    X(NON_BLOCKING, "non_blocking", "a non-blocking descriptor")                                             \
    X(NOT_TCP, "not_tcp", "a stream that is not TCP: MPTCP, SCTP")                                           \
    X(STALE, "stale", "the descriptor is not the one that was remembered")                                   \
    X(NOT_OURS, "not_ours", "memory shared with a vfork child")                                              \
    X(TABLE_FULL, "table_full", "the table of hosts is full")                                                \
    X(PRIVATE, "private", "state could not be shared: private memory instead")                               \
    X(LOG_LOST, "log_lost", "a log line could not be written")                                               \
    X(LOG_THINNED, "log_thinned", "a log line was one of too many in a second")                              \
    X(NOT_PARKED, "not_parked", "the kernel could not keep a descriptor silent between two attempts")        \
    X(ASLEEP, "asleep", "a thread was asleep that did not know of a deadline")                               \
    X(AMBIGUOUS, "ambiguous", "an event of which it could not be told whose it is")                          \
    X(CANCEL_FAILED, "cancel_failed", "an attempt could not be taken back")                                  \
    X(LOOKUP_DIRECT, "lookup_direct", "a lookup could not be timed as finely as its rule asks")              \
    X(FALLBACK_UNKNOWN, "fallback_unknown",                                                                  \
      "where a fallback host is was not known, and nothing could wait to ask")                               \
    X(UNBOUND, "unbound", "a declared function could not be bound, or not everywhere")                       \
    X(NOT_DELAYED, "not_delayed", "a fault that takes time, where nothing could wait for it")
enum passed_reason {
#define PASSED_REASON(name, text, help) PASSED_##name,
    PASSED_REASONS(PASSED_REASON)
#undef PASSED_REASON
        PASSED_REASON_COUNT
};
const char *passed_name(enum passed_reason reason); /* "non_blocking" */
const char *passed_help(enum passed_reason reason);

/* The name of the reason that an event carries, NULL if its kind has none: "budget", "open", "log_lost". */
const char *event_reason(const struct event *event);

/* The sentence for people, without "libresil: " in front and without a newline. `error` texts come from a table of our
 * own: strerror takes locks and locales. */
struct event_text {
    char text[256];
};
struct event_text event_text(const struct event *event);
/* DEGRADED and RUNG_SKIPPED: what the event says of the ladder. */
enum rung_kind event_rung(const struct event *event);

/* The address that was tried; empty where there is no choice. With its port where that is the rung's. */
struct event_address {
    char text[56];
};
struct event_address event_address(const struct event *event);
struct text;
void event_say(const struct event *event, struct text *text); /* the same, appended */

#endif
