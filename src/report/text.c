/* Events as sentences for people. */
#include <errno.h>
#include <netdb.h>
#include <stddef.h>
#include <string.h>

#include "base/text.h"
#include "report/event.h"
#include "rules/faults.h"
#include "rules/rules.h"

/* No circuit waits so long for its probe: somebody holds it open. */
#define HELD_OPEN_NS (UINT64_MAX / 2)

/* " to 10.0.0.7"; empty where the target says it. */
struct tried {
    char text[56];
};
static struct tried tried_by(const struct event *event);
static void add_those_before(const struct event *event, struct text *text);
static void say_why(struct text *text, const struct event *event);
static void say_rung(struct text *text, const struct event *event, const char *code);
static void say_skipped(struct text *text, const struct event *event);
static void say_limit(struct text *text, const struct event *event, bool is_rate);
static void say_fault(struct text *text, const struct event *event);
static void say_what_it_gets(struct text *text, const struct event *event);
static void say_what_calls_get(struct text *text, const struct event *event);
static const char *said(int error);
static const char *said_of_lookup(int eai);

struct event_text event_text(const struct event *event)
{
    struct event_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    event_say(event, &text);
    return result;
}

struct event_address event_address(const struct event *event)
{
    static const struct address none;
    struct event_address result;
    struct address address;
    memcpy(address.bytes, event->address, sizeof address.bytes);
    struct text text = text_begin(result.text, sizeof result.text);
    if (!address_equal(&address, &none))
        text_add(&text, "%s", address_text(&address).text);
    if (result.text[0] && event_rung(event) == RUNG_HOST && event->count >> 16) {
        text = text_begin(result.text, sizeof result.text);
        text_add(&text, address_is_v4(&address) ? "%s:%u" : "[%s]:%u", address_text(&address).text,
                 event->count >> 16);
    }
    return result;
}

void event_say(const struct event *event, struct text *text)
{
    struct duration_text delay = duration_text(event->delay_ns);
    struct duration_text duration = duration_text(event->duration_ns);
    bool is_lookup = event->kind == EVENT_LOOKUP_FAILED || event->kind == EVENT_LOOKUP_RETRY ||
                     event->flags & EVENT_LOOKUP;
    const char *error = is_lookup ? said_of_lookup(event->error) : said(event->error);
    const char *code = event->error ? errno_name(event->error) : "the declared default";
    struct tried tried = tried_by(event);
    bool is_function = event->flags & EVENT_DEFAULT; /* a declared one's limit */
    static const char *const steered[] = {
#define STEERED(name, text, help) help,
        STEERINGS(STEERED)
#undef STEERED
    };

    static const char *const unbound[] = {
#define REASON(name, text, help) help,
        UNBOUND_REASONS(REASON)
#undef REASON
    };

    if (event->target[0])
        text_add(text, "%.*s: ", (int)sizeof event->target, event->target);
    if (event->flags & EVENT_SHADOW)
        text_add(text, "(not enforced) ");
    switch ((enum event_kind)event->kind) {
    case EVENT_RETRY:
        text_add(text, "connect%s %s (attempt %u of %u), again in %s", tried.text, error, event->attempt,
                 event->attempts, delay.text);
        break;
    case EVENT_SIBLING:
        text_add(text, "connect%s %s (attempt %u of %u), the next address at once", tried.text, error,
                 event->attempt, event->attempts);
        break;
    case EVENT_CONNECT_FAILED:
        text_add(text, "connect%s %s", tried.text, error);
        if (event->attempts > 1)
            text_add(text, " (attempt %u of %u)", event->attempt, event->attempts);
        text_add(text, ", given up after %s", duration.text);
        say_why(text, event);
        break;
    case EVENT_CONNECTED_LATE:
        text_add(text, "connected%s at attempt %u of %u, after %s", tried.text, event->attempt,
                 event->attempts, duration.text);
        break;
    case EVENT_TIMEOUT_CONNECT:
        text_add(text, "no answer to connect%s within %s", tried.text, duration.text);
        break;
    case EVENT_TIMEOUT_RESPONSE:
        text_add(text, "no answer within %s; the call gets ETIMEDOUT", duration.text);
        break;
    case EVENT_TIMEOUT_RECV:
        text_add(text, "no data for %s; the call gets ETIMEDOUT", duration.text);
        break;
    case EVENT_TIMEOUT_SEND:
        text_add(text, "no room to send for %s; the call gets ETIMEDOUT", duration.text);
        break;
    case EVENT_NO_ANSWER:
        text_add(text, "%s before the first answer", event->error ? error : "closed by the peer");
        break;
    case EVENT_FAILURE_ANSWER:
        text_add(text, "the answer says that it failed");
        break;
    case EVENT_LIMIT_CONNECTIONS:
        text_add(text, "too many %s at once", is_function ? "calls" : "connections");
        say_limit(text, event, false);
        if (event->duration_ns)
            text_add(text, ", still after %s", duration.text);
        say_what_it_gets(text, event);
        add_those_before(event, text);
        break;
    case EVENT_LIMIT_RATE:
        text_add(text, "too many %s in a second", is_function ? "calls" : "connects");
        say_limit(text, event, true);
        if (event->duration_ns)
            text_add(text, ", still after %s", duration.text);
        say_what_it_gets(text, event);
        add_those_before(event, text);
        break;
    case EVENT_LIMIT_WAIT:
        text_add(text, "waited %s for its turn", duration.text);
        say_limit(text, event, event->flags & EVENT_OF_RATE);
        add_those_before(event, text);
        break;
    case EVENT_REJECTED:
        if (event->delay_ns > HELD_OPEN_NS)
            text_add(text, "circuit held open");
        else if (event->flags & EVENT_PROBING)
            text_add(text, "circuit half-open, a probe is under way");
        else
            text_add(text, "circuit open, next probe in %s", delay.text);
        say_what_it_gets(text, event);
        add_those_before(event, text);
        break;
    case EVENT_OPENED:
        text_add(text, "circuit open after %u failure%s, for %s", event->count, event->count == 1 ? "" : "s",
                 delay.text);
        say_what_calls_get(text, event);
        break;
    case EVENT_REOPENED:
        text_add(text, "the probe failed, circuit open for another %s", delay.text);
        say_what_calls_get(text, event);
        break;
    case EVENT_PROBE:
        text_add(text, "circuit half-open, this call is the probe");
        break;
    case EVENT_CLOSED:
        text_add(text, "circuit closed, the host is back");
        break;
    case EVENT_STEERED:
        text_add(text, "%s", event->count < STEERED_COUNT ? steered[event->count] : "circuit steered");
        break;
    case EVENT_LOOKUP_RETRY:
        text_add(text, "lookup: %s (attempt %u of %u), again in %s", error, event->attempt, event->attempts,
                 delay.text);
        break;
    case EVENT_LOOKUP_FAILED:
        text_add(text, "lookup: %s, given up after %s", error, duration.text);
        say_why(text, event);
        break;
    case EVENT_DEGRADED:
        say_rung(text, event, is_lookup || !code ? error : code);
        break;
    case EVENT_RUNG_SKIPPED:
        say_skipped(text, event);
        break;
    case EVENT_FAULT:
        say_fault(text, event);
        break;
    case EVENT_FAULTS_ARMED:
        text_add(text, "%u fault%s armed; the same again with RESIL_SEED=%lu", event->count,
                 event->count == 1 ? "" : "s", event->delay_ns);
        break;
    case EVENT_FAULT_STEERED:
        text_add(text, "fault %s %s", event->fault,
                 event->count == 0   ? "is as it was armed again"
                 : event->count == 1 ? "switched on"
                                     : "switched off");
        if (event->delay_ns)
            text_add(text, " for %s", delay.text);
        break;
    case EVENT_RULES_LOADED:
        text_add(text, "%u rule%s in force", event->count, event->count == 1 ? "" : "s");
        break;
    case EVENT_RULES_BAD:
        text_add(text, "%u error%s in the rules: nothing is changed by libresil", event->count,
                 event->count == 1 ? "" : "s");
        break;
    case EVENT_RULES_RELOADED:
        text_add(text, "the rules have changed: %u rule%s in force", event->count,
                 event->count == 1 ? "" : "s");
        break;
    case EVENT_RULES_KEPT:
        if (event->count)
            text_add(text, "%u error%s in the changed rules: those from before stay in force", event->count,
                     event->count == 1 ? "" : "s");
        else
            text_add(text, "the file is gone: its rules stay in force");
        break;
    case EVENT_PASSED_THROUGH:
        text_add(text, event->count == PASSED_PRIVATE ? "%s" : "passed through: %s",
                 passed_help((enum passed_reason)event->count));
        break;
    case EVENT_FUNCTION_RETRY:
        text_add(text, "failed (attempt %u of %u), again in %s", event->attempt, event->attempts, delay.text);
        break;
    case EVENT_FUNCTION_FAILED:
        text_add(text, "failed");
        if (event->attempts > 1)
            text_add(text, " (attempt %u of %u), given up after %s", event->attempt, event->attempts,
                     duration.text);
        say_why(text, event);
        if (event->flags & EVENT_DEFAULT)
            text_add(text, "; the call gets the declared default");
        break;
    case EVENT_FUNCTION_LATE:
        text_add(text, "succeeded at attempt %u of %u, after %s", event->attempt, event->attempts,
                 duration.text);
        break;
    case EVENT_FUNCTION_UNBOUND:
        text_add(text, "%s not under its policy: %s", event->target[0] ? "is" : "a declared function is",
                 event->count < UNBOUND_REASON_COUNT ? unbound[event->count] : "");
        break;
    case EVENT_KINDS:
        text_add(text, "unknown event");
        break;
    }
}

/* " (rate: 50/s, rule payments)". Only rules that name their limit say it: those of functions do not. */
static void say_limit(struct text *text, const struct event *event, bool is_rate)
{
    if (!event->event_limit)
        return;
    text_add(text, " (%s: %lu%s", is_rate ? "rate" : "connections", (unsigned long)event->event_limit,
             is_rate ? "/s" : "");
    if (event->event_rule[0])
        text_add(text, ", rule %s", event->event_rule);
    text_add(text, ")");
}

static void say_what_calls_get(struct text *text, const struct event *event)
{
    if (event->flags & EVENT_LADDER)
        text_add(text, "; calls go down the rule's ladder");
    else
        text_add(text, "; calls get %s", event->error ? errno_name(event->error) : "the declared default");
}

/* Nothing where its rule has a ladder: what serves it is told by itself. */
static void say_what_it_gets(struct text *text, const struct event *event)
{
    if (event->error)
        text_add(text, "; the call gets %s", errno_name(event->error));
    else if (event->flags & EVENT_DEFAULT)
        text_add(text, "; the call gets the declared default");
}

static void say_fault(struct text *text, const struct event *event)
{
    static const char *const words[FAULT_KINDS] = {
        [FAULT_TIMEOUT] = "is never answered",
        [FAULT_RESET] = "finds the connection reset",
        [FAULT_BANDWIDTH] = "is slowed down",
        [FAULT_SLICE] = "goes in small pieces",
        [FAULT_LIMIT_DATA] = "finds the connection ended",
        [FAULT_CORRUPT] = "gets bytes changed",
        [FAULT_LOSS] = "loses a datagram",
        [FAULT_DUPLICATE] = "has a datagram twice",
        [FAULT_ADDRESS] = "gets another address",
        [FAULT_REORDER] = "has a datagram overtaken",
    };
    unsigned kind = event_kind_of(event), operation = event->event_operation;
    const char *code = operation == FAULT_RESOLVE ? eai_name(event->error) : errno_name(event->error);
    text_add(text, "fault %s: %s", event->fault,
             operation < FAULT_OPERATIONS ? fault_operation_names[operation] : "call");
    if (kind < FAULT_KINDS && words[kind])
        text_add(text, " %s", words[kind]);
    else if (event->delay_ns)
        text_add(text, " %s %s later", kind == FAULT_SLOW_CLOSE ? "sees the end" : "comes back",
                 duration_text(event->delay_ns).text);
    else
        text_add(text, " gets %s", code ? code : "an error");
}

static struct tried tried_by(const struct event *event)
{
    struct tried tried;
    struct text text = text_begin(tried.text, sizeof tried.text);
    struct event_address address = event_address(event);
    if (address.text[0])
        text_add(&text, " to %s", address.text);
    return tried;
}

/* Those that were left out, because there are too many of them. */
static void add_those_before(const struct event *event, struct text *text)
{
    if (event->count > 1)
        text_add(text, ", as did %u before it", event->count - 1);
}

static void say_rung(struct text *text, const struct event *event, const char *code)
{
    struct event_address address = event_address(event);
    switch (event_rung(event)) {
    case RUNG_HOST:
        text_add(text,
                 event->flags & EVENT_LOOKUP ? "lookup: led to the fallback host %s"
                                             : "served by the fallback host %s",
                 address.text);
        break;
    case RUNG_STALE:
        text_add(text, "lookup: served by the last good answer, %s old",
                 duration_text(event->duration_ns).text);
        break;
    case RUNG_RESPOND:
        text_add(text, "served by the answer in the rule");
        break;
    case RUNG_ADDRESSES:
        text_add(text, "lookup: served by the addresses in the rule");
        break;
    default:
        text_add(text,
                 event->flags & EVENT_LOOKUP ? "lookup: nothing is left to serve it: %s"
                                             : "nothing is left to serve it; the call gets %s",
                 code);
        break;
    }
}

static void say_skipped(struct text *text, const struct event *event)
{
    static const char *const reasons[] = {
#define SKIPPED(name, name_text, help) help,
        SKIPPED_REASONS(SKIPPED)
#undef SKIPPED
    };
    static const char *const rungs[RUNG_KINDS] = {
        [RUNG_FULL] = "",
        [RUNG_HOST] = "the fallback host",
        [RUNG_STALE] = "the last good answer",
        [RUNG_RESPOND] = "the answer in the rule",
        [RUNG_ADDRESSES] = "the addresses in the rule",
        [RUNG_ERROR] = "",
    };
    unsigned why = event->count >> 8 & 0xff;
    struct event_address address = event_address(event);
    text_add(text, "%s%s%s cannot serve: %s", rungs[event_rung(event)], address.text[0] ? " " : "",
             address.text, why < SKIPPED_COUNT ? reasons[why] : "unknown");
}

/* Where there was nothing to give up there is no reason to give. */
static void say_why(struct text *text, const struct event *event)
{
    static const char *const reasons[] = {
#define REASON(name, name_text, help) help,
        GIVEN_UP_REASONS(REASON)
#undef REASON
    };
    bool is_lookup = event->kind == EVENT_LOOKUP_FAILED; /* the whole of it is bounded by another timeout */
    if (event->attempts > 1 && event->count == GIVEN_UP_TOTAL && is_lookup)
        text_add(text, ": `resolve` is used up");
    else if (event->attempts > 1 && event->count < GIVEN_UP_REASON_COUNT && *reasons[event->count])
        text_add(text, ": %s", reasons[event->count]);
}

/* What a connect did, as a verb: strerror takes locks and reads the locale. */
static const char *said(int error)
{
    switch (error) {
    case 0:
        return "succeeded";
    case ECONNREFUSED:
        return "refused";
    case ETIMEDOUT:
        return "timed out";
    case EHOSTUNREACH:
        return "failed: host unreachable";
    case ENETUNREACH:
        return "failed: network unreachable";
    case ECONNRESET:
        return "reset by the peer";
    case ECONNABORTED:
        return "aborted";
    case EPIPE:
        return "broken off by the peer";
    case EINTR:
        return "interrupted";
    }
    const char *name = errno_name(error);
    return name ? name : "failed";
}

static const char *said_of_lookup(int eai)
{
    switch (eai) {
    case EAI_AGAIN:
        return "no answer from the name server (EAI_AGAIN)";
    case EAI_FAIL:
        return "the name server failed (EAI_FAIL)";
    case EAI_NONAME:
        return "no such name (EAI_NONAME)";
    }
    return "failed";
}
