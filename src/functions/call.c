/* The call of a declared function: what a closure does. The order is that of connects (policy/call.h). */
#include "functions/call.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/hash.h"
#include "drive/connect.h"
#include "drive/readable.h"
#include "drive/signals.h"
#include "policy/random.h"
#include "state/current.h"
#include "state/process.h"

/* The declared functions that this thread is in. A function that comes back to itself is one call: retries of retries
 * would be made, and one failure counted twice. As with drive/nesting.h a mark counts only while its frame is further out
 * than the current one and still holds it: a call may never return. The stack that it was on may be gone by then, where
 * coroutines have stacks of their own. */
struct inside {
    uint64_t mark, signature;
    struct inside *outer;
};
static __thread struct inside *innermost __attribute__((tls_model("initial-exec")));

static void pass_on(struct binding *binding, void *result, void **arguments);
static void carry_out(struct calling *call);
static bool retry(struct calling *call);
static void report(struct calling *call, bool has_failed);
static void tell_step(struct calling *call, enum event_kind kind, const struct call *state,
                      const struct call_step *step, uint64_t now_ns);
static bool is_inside(uint64_t signature);
static uint64_t mark_of(const struct inside *inside);

void function_called(ffi_cif *shape, void *result, void **arguments, void *data)
{
    (void)shape;
    struct binding *binding = data;
    uintptr_t caller = closure_caller;
    int error = errno;
    struct visit visit;
    const struct ruleset *rules = rules_enter(&visit);
    const struct function *function = rules ? binding_declaration(binding, rules) : NULL;
    errno = error;
    if (!function || is_inside(binding->signature)) {
        if (rules)
            rules_leave(&visit);
        pass_on(binding, result, arguments);
        return;
    }
    struct inside inside = {.signature = binding->signature, .outer = innermost};
    inside.mark = mark_of(&inside);
    innermost = &inside;
    struct calling call;
    call.binding = binding;
    call.function = function;
    call.result = result;
    call.arguments = arguments;
    call.caller = caller;
    call.error_before = error;
    call.text[0] = '\0';
    carry_out(&call);
    inside.mark = 0;
    innermost = inside.outer;
    rules_leave(&visit);
    errno = call.error;
}

static void pass_on(struct binding *binding, void *result, void **arguments)
{
    ffi_call(&binding->shape, FFI_FN(binding->original), result, arguments);
}

static void carry_out(struct calling *call)
{
    const struct policy *policy = &call->function->rule.policy;
    call->begun_ns = policy->limit.is_on ? clock_now_ns() : clock_coarse_ns();
    call->is_shadow = false;
    if (policy->enforce_ppm < PPM_ONE) {
        struct random random = {process_next_seed()};
        call->is_shadow = !random_chance(&random, policy->enforce_ppm);
    }
    call_find_host(call);
    host_count(call->host, HOST_CALLS);
    bool is_admitted = call_admit(call);
    if (!is_admitted && !call->is_shadow) {
        call_give_default(call);
        call->error = call->function->fallback.error ? call->function->fallback.error : call->error_before;
        return;
    }
    if (policy->retry.is_on)
        budget_call(call->host, &policy->retry.budget, call->begun_ns);
    call_attempt(call);
    bool has_failed = call_has_failed(call);
    if (has_failed)
        has_failed = retry(call);
    else
        host_count(call->host, HOST_CONNECTED);
    if (is_admitted && policy->breaker.is_on)
        report(call, has_failed); /* what would have been rejected teaches nothing */
    call_leave(call);
    if (!has_failed || !call->function->fallback.is_for_failed || call->is_shadow)
        return;
    call_clean_up(call);
    call_give_default(call);
    call->error = call->function->fallback.error ? call->function->fallback.error : call->error;
}

/* The first attempt has failed. Has the call, in the end? What it returned is then as the last attempt left it. */
static bool retry(struct calling *call)
{
    const struct policy *policy = &call->function->rule.policy;
    const struct call_params params = {
        .max_retries = policy->retry.is_on && !call->is_shadow ? policy->retry.max_retries : 0,
        .retry_on = RETRY_ON_ALL,
        .backoff = policy->retry.backoff,
    };
    uint64_t now = clock_now_ns();
    struct call state;
    bool is_probe = call->verdict == BREAKER_PROBE;
    call_begin(&state, &params, is_probe ? BREAKER_PROBE : BREAKER_ADMIT, process_next_seed(),
               call->begun_ns);
    struct call_step step = call_ended(&state, OUTCOME_REFUSED, call->error, now);
    while (step.action == CALL_WAIT) {
        if (!budget_take(call->host, &policy->retry.budget, now)) {
            step = call_denied(&state);
            break;
        }
        host_count(call->host, HOST_RETRIES);
        tell_step(call, EVENT_FUNCTION_RETRY, &state, &step, now);
        call_clean_up(call);
        call_wait(step.until_ns);
        step = call_due(&state, clock_now_ns());
        call_attempt(call);
        bool has_failed = call_has_failed(call);
        now = clock_now_ns();
        step = call_ended(&state, has_failed ? OUTCOME_REFUSED : OUTCOME_SUCCESS, call->error, now);
    }
    bool has_failed = step.ending != CALL_SUCCEEDED;
    host_count(call->host, has_failed ? HOST_FAILED : HOST_CONNECTED);
    if (call->is_shadow && policy->retry.is_on && !is_probe) {
        host_count(call->host, HOST_SHADOWED);
        step.until_ns = now + policy->retry.backoff.base_delay_ns;
        tell_step(call, EVENT_FUNCTION_RETRY, &state, &step, now);
    }
    tell_step(call, has_failed ? EVENT_FUNCTION_FAILED : EVENT_FUNCTION_LATE, &state, &step, now);
    return has_failed;
}

void call_wait(uint64_t until_ns)
{
    sigset_t mask;
    int cancelling, disabled;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    signals_block(&mask);
    while (signals_wait(-1, 0, until_ns, &mask) == WAITED_INTERRUPTED)
        ;
    signals_restore(&mask);
    pthread_setcancelstate(cancelling, &disabled);
}

static void report(struct calling *call, bool has_failed)
{
    const struct policy *policy = &call->function->rule.policy;
    if (!has_failed && call->verdict != BREAKER_PROBE && call->host.host) {
        struct breaker_view view =
            breaker_view(atomic_load_explicit(&call->host.host->breaker, memory_order_relaxed));
        if (view.state == BREAKER_CLOSED && !view.failures) { /* nothing to reset, only to count */
            breakers_succeeded(call->host, &policy->breaker.params, 1, 0);
            return;
        }
    }
    connect_report(call->host, call_text(call), &policy->breaker.params, call->function->fallback.error,
                   call->ticket, has_failed ? BREAKER_FAILURE : BREAKER_SUCCESS, process_next_seed(),
                   call->is_shadow);
}

/* Failures without retries may come thousands of times a second. */
static void tell_step(struct calling *call, enum event_kind kind, const struct call *state,
                      const struct call_step *step, uint64_t now_ns)
{
    bool is_end = kind == EVENT_FUNCTION_FAILED;
    if (is_end && !hosts_sample(call->host, SAMPLE_FUNCTION, kind, now_ns))
        return;
    struct event event = event_about(kind, call_text(call));
    event.duration_ns = now_ns - call->begun_ns;
    event.delay_ns = kind == EVENT_FUNCTION_RETRY && step->until_ns > now_ns ? step->until_ns - now_ns : 0;
    event.error = call->error;
    event.attempt = (uint16_t)state->attempts;
    event.attempts =
        (uint16_t)(call->function->rule.policy.retry.is_on ? call->function->rule.policy.retry.max_retries + 1
                                                           : 1);
    event.count = is_end ? given_up_because(step->why) : 0;
    event.flags = (call->is_shadow ? EVENT_SHADOW : 0) |
                  (is_end && call->function->fallback.is_for_failed && !call->is_shadow ? EVENT_DEFAULT : 0);
    tell(&event);
}

static bool is_inside(uint64_t signature)
{
    for (struct inside *inside = innermost; inside; inside = inside->outer) {
        if ((uintptr_t)inside < (uintptr_t)__builtin_frame_address(0) ||
            !is_readable(inside, sizeof *inside) || inside->mark != mark_of(inside)) {
            innermost = NULL; /* left by a jump */
            return false;
        }
        if (inside->signature == signature)
            return true;
    }
    return false;
}

static uint64_t mark_of(const struct inside *inside)
{
    return hash_mix((uint64_t)(uintptr_t)inside ^ inside->signature);
}
