/* The driver that changes nothing: for calls under a rule that is not enforced for them. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "drive/connect.h"
#include "drive/fault_connect.h"
#include "drive/throttle.h"
#include "drive/readiness.h"
#include "drive/siblings.h"
#include "drive/transfer.h"
#include "hooks/real.h"
#include "policy/call.h"
#include "state/latencies.h"

static bool would_be_rejected(struct connecting *call);
static void tell_what_would_follow(const struct connecting *call, enum outcome outcome, int error,
                                   uint64_t took_ns);
static void report(const struct connecting *call, enum outcome outcome, int error);

int shadow_connect(struct connecting *call)
{
    const struct policy *policy = &call->rule->policy;
    bool is_rejected = !throttle_admit(call) || (policy->breaker.is_on && would_be_rejected(call));
    if (is_rejected)
        throttle_leave(call);
    else if (!call->is_blocking && call->kind != SOCKET_UDP)
        return readiness_connect(call);
    int before = errno;
    int result = call->flow ? fault_connect(call) : real.connect(call->fd, call->address, call->length);
    int error = result == 0 ? 0 : errno;
    uint64_t took_ns = clock_now_ns() - call->begun_ns;
    enum outcome outcome = outcome_of_connect(error, took_ns > NS_PER_MS);
    bool is_late = policy->timeout.connect_ns && took_ns > policy->timeout.connect_ns && error != EINPROGRESS;
    if (is_late)
        outcome = OUTCOME_TIMEOUT;
    if (!is_rejected) /* what does not happen has no consequences */
        tell_what_would_follow(call, outcome, error, took_ns);
    host_count(call->host, error ? HOST_FAILED : HOST_CONNECTED);
    if (!error && call->kind != SOCKET_UDP)
        host_took(call->host, LATENCY_CONNECT, took_ns);
    if (is_rejected || is_late)
        host_spared(call->host, is_rejected ? took_ns : took_ns - policy->timeout.connect_ns);
    /* What would have been rejected teaches the breaker nothing, as it would not have happened; a would-be probe does. */
    bool is_heard = policy->breaker.is_on && !is_rejected;
    bool is_followed = result == 0 && !is_late && !is_rejected;
    bool is_judged_later = is_followed && connect_has_exchanges(call);
    if (is_heard && !is_judged_later)
        report(call, outcome, error);
    if (is_followed) /* if there is anything to be seen */
        transfer_adopt(call, is_heard && is_judged_later);
    else if (result == 0 || error == EINPROGRESS)
        throttle_keep(call);
    else
        throttle_leave(call);
    errno = error ? error : before;
    return result;
}

static bool would_be_rejected(struct connecting *call)
{
    const struct policy *policy = &call->rule->policy;
    struct breaker_answer state = breakers_admit(call->host, &policy->breaker.params, call->begun_ns);
    call->verdict = state.verdict;
    call->ticket = state.ticket;
    if (state.verdict != BREAKER_REJECT)
        return false;
    host_count(call->host, HOST_SHADOWED);
    host_count(call->host, HOST_WOULD_REJECT);
    struct event event = event_about(EVENT_REJECTED, call->text);
    event.delay_ns = state.until_ns > call->begun_ns ? state.until_ns - call->begun_ns : 0;
    event.error = policy->breaker.error;
    event.flags = EVENT_SHADOW | breakers_probing(call->host);
    tell(&event);
    return true;
}

/* Once: what would come after that would have been another call. */
static void tell_what_would_follow(const struct connecting *call, enum outcome outcome, int error,
                                   uint64_t took_ns)
{
    const struct policy *policy = &call->rule->policy;
    struct event event;
    if (outcome == OUTCOME_TIMEOUT && policy->timeout.connect_ns && took_ns > policy->timeout.connect_ns) {
        host_count(call->host, HOST_WOULD_CUT);
        event = event_about(EVENT_TIMEOUT_CONNECT, call->text);
        event.duration_ns = policy->timeout.connect_ns;
        event.error = ETIMEDOUT;
    } else if (policy->retry.is_on && outcome_is_failure(outcome) &&
               policy->retry.retry_on & OUTCOME_BIT(outcome) && call->verdict != BREAKER_PROBE) {
        struct siblings siblings = {.count = 0};
        host_count(call->host, HOST_WOULD_RETRY);
        if (policy->retry.addresses == ADDRESSES_SIBLINGS)
            siblings_find(&siblings, call);
        event = event_about(siblings.count ? EVENT_SIBLING : EVENT_RETRY, call->text);
        event.attempt = 1;
        event.attempts = (uint16_t)((policy->retry.max_retries + 1) * (siblings.count + 1));
        event.delay_ns = siblings.count ? 0 : policy->retry.backoff.base_delay_ns;
        event.error = error;
        if (siblings.count)
            memcpy(event.address, call->target.address.bytes, sizeof event.address);
    } else {
        return;
    }
    host_count(call->host, HOST_SHADOWED);
    event.flags = EVENT_SHADOW;
    tell(&event);
}

static void report(const struct connecting *call, enum outcome outcome, int error)
{
    const struct policy *policy = &call->rule->policy;
    enum breaker_report report = outcome == OUTCOME_SUCCESS    ? BREAKER_SUCCESS
                                 : outcome_is_failure(outcome) ? BREAKER_FAILURE
                                                               : BREAKER_NEUTRAL;
    connect_report(call->host, call->text, &policy->breaker.params,
                   policy->ladder ? CONNECT_LADDER : policy->breaker.error, call->ticket,
                   siblings_report(NULL, call, 0, report, error), call->seed, true);
}
