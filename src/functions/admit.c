/* May a call be made? First its limits, then the breaker. */
#include <errno.h>

#include "base/clock.h"
#include "drive/tell.h"
#include "functions/call.h"
#include "state/process.h"

/* Nobody can count the calls that live; a place that nobody came or left by for so long is given up for lost (a longjmp). */
#define LONGEST_NS (600 * NS_PER_S)

static bool take_place(struct calling *call, const struct limit_params *params);
static bool take_token(struct calling *call, const struct limit_params *params);
static bool reject(struct calling *call, enum event_kind kind, enum sample_kind sample, enum host_count count,
                   uint64_t delay_ns);

bool call_admit(struct calling *call)
{
    const struct policy *policy = &call->function->rule.policy;
    call->has_place = false;
    call->verdict = BREAKER_ADMIT; /* what is only recorded goes on though it is rejected */
    call->ticket = (struct breaker_ticket){0, false};
    if (policy->limit.is_on && process_owns_memory()) {
        struct limit_params params = {
            .connections = policy->limit.connections,
            .rate_per_s = policy->limit.rate_per_s,
            .wait_ns = call->is_shadow ? 0 : policy->limit.wait_ns,
        };
        call->limit = limits_find(call->host.key, call->begun_ns);
        if (!take_place(call, &params) || !take_token(call, &params))
            return false;
    }
    if (!policy->breaker.is_on)
        return true;
    struct breaker_answer answer = breakers_admit(call->host, &policy->breaker.params, call->begun_ns);
    call->verdict = answer.verdict;
    call->ticket = answer.ticket;
    if (answer.verdict == BREAKER_REJECT)
        return reject(call, EVENT_REJECTED, SAMPLE_REJECTED, HOST_REJECTED,
                      answer.until_ns > call->begun_ns ? answer.until_ns - call->begun_ns : 0);
    if (answer.verdict == BREAKER_PROBE) {
        host_count(call->host, HOST_PROBES);
        struct event event = event_about(EVENT_PROBE, call_text(call));
        event.flags = call->is_shadow ? EVENT_SHADOW : 0;
        tell(&event);
    }
    return true;
}

void call_leave(struct calling *call)
{
    if (call->has_place)
        limits_left(call->limit, clock_now_ns());
    call->has_place = false;
}

static bool take_place(struct calling *call, const struct limit_params *params)
{
    bool is_counted = false;
    while (params->connections) {
        uint64_t now = clock_now_ns();
        struct limit_answer answer = limits_enter(call->limit, params, call->begun_ns, now);
        if (answer.verdict == LIMIT_ADMIT) {
            call->has_place = call->limit.limit != NULL;
            break;
        }
        if (!is_counted) {
            is_counted = true;
            limits_correct(call->limit, limits_places(call->limit), 0, LONGEST_NS, now);
        } else if (answer.verdict == LIMIT_REJECT) {
            return reject(call, EVENT_LIMIT_CONNECTIONS, SAMPLE_CONNECTIONS, HOST_LIMITED, 0);
        } else {
            call_wait(answer.until_ns);
        }
    }
    return true;
}

static bool take_token(struct calling *call, const struct limit_params *params)
{
    struct limit_answer answer = limits_take(call->limit, params, call->begun_ns, clock_now_ns());
    if (answer.verdict == LIMIT_REJECT)
        return reject(call, EVENT_LIMIT_RATE, SAMPLE_RATE, HOST_LIMITED, 0);
    if (answer.verdict == LIMIT_WAIT)
        call_wait(answer.until_ns);
    return true;
}

static bool reject(struct calling *call, enum event_kind kind, enum sample_kind sample, enum host_count count,
                   uint64_t delay_ns)
{
    call_leave(call);
    host_count(call->host, call->is_shadow ? HOST_SHADOWED : count);
    uint32_t told = hosts_sample(call->host, sample, kind, call->begun_ns);
    if (told) {
        struct event event = event_about(kind, call_text(call));
        event.delay_ns = delay_ns;
        event.error = call->function->fallback.error;
        event.count = told;
        event.flags = (call->is_shadow ? EVENT_SHADOW : EVENT_DEFAULT) |
                      (kind == EVENT_REJECTED ? breakers_probing(call->host) : 0);
        tell(&event);
    }
    return false;
}
