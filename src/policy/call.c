#include "policy/call.h"

static uint64_t later(uint64_t from_ns, uint64_t by_ns)
{
    return by_ns < NEVER - from_ns ? from_ns + by_ns : NEVER;
}

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* From here on nothing may begin, and nothing goes on. */
static uint64_t end_of_call(const struct call *call)
{
    return call->params.total_ns ? later(call->begun_ns, call->params.total_ns) : NEVER;
}

static struct call_step step(const struct call *call)
{
    return (struct call_step){
        .action = call->action,
        .until_ns = call->due_ns,
        .address = call->address,
        .outcome = call->last_outcome,
        .error = call->last_error,
        .ending = call->ending,
        .why = call->why,
    };
}

static struct call_step done(struct call *call, enum call_ending ending)
{
    call->action = CALL_DONE;
    call->due_ns = NEVER;
    call->ending = ending;
    return step(call);
}

static struct call_step failed(struct call *call, enum call_why why)
{
    call->why = why;
    return done(call, CALL_FAILED);
}

static struct call_step attempt(struct call *call, uint32_t address, uint64_t now_ns)
{
    uint64_t timeout_ns = call->params.attempt_timeout_ns;
    call->action = CALL_ATTEMPT;
    call->address = address;
    call->rounds += address == 0;
    call->attempts++;
    call->due_ns = min(timeout_ns ? later(now_ns, timeout_ns) : NEVER, end_of_call(call));
    return step(call);
}

static bool is_retryable(const struct call *call)
{
    /* Whatever the mask says, an answer and our own faults are not tried again. */
    return outcome_is_failure(call->last_outcome) && call->params.retry_on & OUTCOME_BIT(call->last_outcome);
}

static bool has_untried_sibling(const struct call *call)
{
    return call->address < call->params.siblings && call->address < CALL_SIBLINGS_MAX;
}

/* The attempt failed: is there to be another, and when? */
static struct call_step retry(struct call *call, uint64_t now_ns)
{
    if (!is_retryable(call))
        return failed(call, CALL_NOT_RETRYABLE);
    if (call->is_probe)
        return failed(call, CALL_PROBE_FAILED);
    if (has_untried_sibling(call))
        return now_ns < end_of_call(call) ? attempt(call, call->address + 1, now_ns)
                                          : failed(call, CALL_TIME_USED_UP);
    if (call->rounds > call->params.max_retries)
        return failed(call, CALL_RETRIES_USED_UP);
    call->previous_delay_ns =
        backoff_delay(&call->params.backoff, call->rounds, call->previous_delay_ns, &call->random);
    /* Sleeping only to find the time used up would make the program wait for an answer that is known now. */
    uint64_t due_ns = later(now_ns, call->previous_delay_ns);
    if (due_ns >= end_of_call(call))
        return failed(call, CALL_TIME_USED_UP);
    call->action = CALL_WAIT;
    call->due_ns = due_ns;
    return step(call);
}

static struct call_step attempt_ended(struct call *call, enum outcome outcome, int error, uint64_t now_ns)
{
    bool is_success = outcome == OUTCOME_SUCCESS;
    call->last_outcome = outcome;
    call->last_error = is_success ? 0 : error;
    return is_success ? done(call, CALL_SUCCEEDED) : retry(call, now_ns);
}

struct call_step call_begin(struct call *call, const struct call_params *params, enum breaker_verdict verdict,
                            uint64_t seed, uint64_t now_ns)
{
    /* One by one: to clear all of it first would take longer than all the rest. */
    call->params = *params;
    call->random.state = seed;
    call->begun_ns = now_ns;
    call->previous_delay_ns = 0;
    call->attempts = call->rounds = call->address = 0;
    call->last_outcome = OUTCOME_SUCCESS;
    call->last_error = 0;
    call->ending = CALL_SUCCEEDED;
    call->why = CALL_NOT_RETRYABLE;
    call->is_probe = verdict == BREAKER_PROBE;
    if (verdict != BREAKER_REJECT)
        return attempt(call, 0, now_ns);
    call->last_outcome = OUTCOME_OURS;
    call->last_error = params->rejected_error;
    return done(call, CALL_REJECTED);
}

struct call_step call_ended(struct call *call, enum outcome outcome, int error, uint64_t now_ns)
{
    return call->action == CALL_ATTEMPT ? attempt_ended(call, outcome, error, now_ns) : step(call);
}

struct call_step call_due(struct call *call, uint64_t now_ns)
{
    if (call->due_ns == NEVER || now_ns < call->due_ns)
        return step(call);
    if (call->action == CALL_ATTEMPT)
        return attempt_ended(call, OUTCOME_TIMEOUT, call->params.timeout_error, now_ns);
    /* Whoever slept may have slept too long. */
    return now_ns < end_of_call(call) ? attempt(call, 0, now_ns) : failed(call, CALL_TIME_USED_UP);
}

struct call_step call_denied(struct call *call)
{
    return call->action == CALL_WAIT ? failed(call, CALL_BUDGET_USED_UP) : step(call);
}

struct call_step call_interrupted(struct call *call)
{
    return call->action == CALL_WAIT ? failed(call, CALL_INTERRUPTED) : step(call);
}

enum breaker_report call_report(const struct call_step *done)
{
    if (done->action != CALL_DONE || done->ending == CALL_REJECTED)
        return BREAKER_NEUTRAL;
    if (done->ending == CALL_SUCCEEDED)
        return BREAKER_SUCCESS;
    return outcome_is_failure(done->outcome) ? BREAKER_FAILURE : BREAKER_NEUTRAL;
}
