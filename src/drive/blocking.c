/* The blocking driver: loops inside the program's connect.
 *
 * The first attempt is the program's own call with SO_SNDTIMEO set: nothing is added to a healthy connect but that
 * option. Only after it has failed does the call become several, and from then on signals are let in at our waits
 * only (drive/signals.h). */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "drive/attempt.h"
#include "drive/connect.h"
#include "drive/degrade.h"
#include "drive/error_queue.h"
#include "drive/fault_connect.h"
#include "drive/throttle.h"
#include "drive/options.h"
#include "drive/siblings.h"
#include "drive/signals.h"
#include "drive/transfer.h"
#include "drive/unix.h"
#include "hooks/real.h"
#include "policy/call.h"
#include "state/credits.h"
#include "state/latencies.h"
#include "state/segment.h"

#define LOOK_AGAIN_NS (10 * NS_PER_MS)

/* A call, and how far it has come. */
struct blocking {
    struct connecting *call;
    struct call state;
    struct siblings siblings; /* looked up once an attempt has failed */
    bool tries_siblings;
    uint32_t siblings_tried; /* the first so many of them */
    uint64_t ended_ns;       /* its last attempt */
};

static struct attempt attempt_first(struct connecting *call, uint64_t until_ns);
static struct attempt attempt_again(struct connecting *call, uint64_t until_ns, const sigset_t *mask);
static struct attempt take_back(struct connecting *call);
static struct call_step judge(struct blocking *blocking, struct attempt attempt, uint64_t began_ns,
                              uint64_t now_ns);
static struct call_step announce(struct blocking *blocking, struct attempt attempt, struct call_step step,
                                 uint64_t now_ns);
static struct event about_attempt(enum event_kind kind, const struct blocking *blocking);
static bool is_still_ours(struct connecting *call);
static bool seems_ours(struct connecting *call);
static bool was_shut(const struct connecting *call);
static bool may_go_on(struct connecting *call);
static bool has_left(const struct connecting *call, uint64_t took_ns);
static int finish(struct blocking *blocking, const struct call_step *step);
static int finish_in_flight(struct blocking *blocking, struct attempt attempt);
static void choose(struct blocking *blocking, uint32_t address);
static enum breaker_report report_of(const struct blocking *blocking, enum breaker_report report, int error);

int blocking_connect(struct connecting *call)
{
    const struct policy *policy = &call->rule->policy;
    /* Retried for already by a call that has failed: not even siblings, which were tried too. */
    bool is_single =
        policy->retry.is_on && call->verdict != BREAKER_PROBE && credits_use(call->host.key, call->begun_ns);
    struct blocking blocking = {
        .call = call,
        .siblings.known = 1,
        .tries_siblings = policy->retry.is_on && !is_single && policy->retry.addresses == ADDRESSES_SIBLINGS,
    };
    uint64_t waited_ns = call->started_ns - call->begun_ns; /* that much of `total` is gone */
    struct call_params params = {
        .attempt_timeout_ns = policy->timeout.connect_ns,
        .total_ns = policy->timeout.total_ns > waited_ns ? policy->timeout.total_ns - waited_ns
                                                         : policy->timeout.total_ns != 0,
        .max_retries = policy->retry.is_on && !is_single ? policy->retry.max_retries : 0,
        .retry_on = policy->retry.retry_on,
        .backoff = policy->retry.backoff,
        .rejected_error = policy->breaker.error,
        .timeout_error = ETIMEDOUT,
    };
    if (policy->retry.is_on)
        budget_call(call->host, &policy->retry.budget, call->begun_ns);
    if (is_single)
        host_count(call->host, HOST_SINGLES);

    int error_before = errno;
    sigset_t mask;
    bool is_blocked = false; /* signals */
    struct attempt attempt = {ENDED, 0};
    struct call *state = &blocking.state;
    struct call_step step = call_begin(state, &params, call->verdict, call->seed, call->started_ns);
    call->own_send_ns = call->is_fresh ? 0 : option_get_timeout(call->fd, SO_SNDTIMEO);
    call->send_option_ns = call->own_send_ns;

    while (step.action != CALL_DONE) {
        if (!is_blocked && state->attempts > (step.action == CALL_ATTEMPT)) {
            signals_block(&mask);
            is_blocked = true;
        }
        if (step.action == CALL_ATTEMPT) {
            uint64_t began = clock_now_ns();
            choose(&blocking, step.address);
            attempt =
                is_blocked ? attempt_again(call, step.until_ns, &mask) : attempt_first(call, step.until_ns);
            if (attempt.how != ENDED && attempt.how != ENDED_CUT)
                break;
            uint64_t ended = blocking.ended_ns = clock_now_ns();
            step = judge(&blocking, attempt, began, ended);
            if (step.action != CALL_DONE)
                step = announce(&blocking, attempt, step, ended);
            continue;
        }
        bool is_interrupted = signals_wait(-1, 0, step.until_ns, &mask) == WAITED_INTERRUPTED;
        if (!may_go_on(call)) {
            step = call_denied(state);
            break;
        }
        uint64_t now = clock_now_ns();
        if (is_interrupted)
            state->due_ns = now;
        step = call_due(state, now);
        if (!is_interrupted || step.action == CALL_DONE)
            continue;
        /* Between attempts SO_ERROR reads 0 and the program would believe that it is connected: it may see EINTR only
         * while an attempt is in flight. So the next one starts now. */
        choose(&blocking, step.address);
        attempt = attempt_start(call);
        if (attempt.how == ENDED_IN_FLIGHT) {
            attempt = (struct attempt){ENDED_INTERRUPTED, EINTR};
            break;
        }
        blocking.tries_siblings = false; /* enough */
        state->params.siblings = 0;
        judge(&blocking, attempt, now, clock_now_ns());
        step = call_interrupted(state);
    }
    int result = step.action == CALL_DONE ? finish(&blocking, &step) : finish_in_flight(&blocking, attempt);
    if (result == 0)
        errno = error_before;
    if (is_blocked)
        signals_restore(&mask);
    return result;
}

/* They come one after the other, round after round. */
static void choose(struct blocking *blocking, uint32_t address)
{
    siblings_choose(&blocking->siblings, blocking->call, address);
    if (blocking->siblings_tried < address)
        blocking->siblings_tried = address;
}

/* The program's own call, bounded by the kernel. */
static struct attempt attempt_first(struct connecting *call, uint64_t until_ns)
{
    struct attempt faulty;
    if (call->flow && fault_attempt(call, until_ns, NULL, &faulty))
        return faulty;
    if (call->target.protocol == PROTOCOL_UNIX)
        return unix_attempt(call, until_ns, NULL);
    uint64_t now = clock_now_ns();
    uint64_t left = until_ns == NEVER ? 0 : until_ns > now ? until_ns - now : 1;
    if (left)
        attempt_set_send_option(call, shorter(left, call->own_send_ns));
    if (real.connect(call->fd, call->tried, call->tried_length) == 0)
        return (struct attempt){ENDED, 0};
    int error = errno;
    if (error == EINPROGRESS || error == EALREADY) {
        bool is_ours = left && (!call->own_send_ns || call->own_send_ns >= left);
        /* Too early for a timeout: what was known of the descriptor is out of date, and it does not block. */
        bool is_early = call->is_fresh && clock_now_ns() + 2 * NS_PER_MS < now + left;
        return is_ours && !is_early ? take_back(call) : (struct attempt){ENDED_OWN_TIMEOUT, error};
    }
    if (error != EINTR)
        return (struct attempt){ENDED, error};
    /* Without SO_SNDTIMEO the kernel would have restarted the call, unless the program asked it not to. */
    if (!left || call->own_send_ns || !signals_all_restart())
        return (struct attempt){ENDED_INTERRUPTED, EINTR};
    sigset_t mask;
    signals_block(&mask);
    struct attempt attempt = attempt_wait(call, until_ns, NEVER, &mask);
    signals_restore(&mask);
    return attempt;
}

/* A later attempt. Signals are blocked; they come in while attempt_wait waits. */
static struct attempt attempt_again(struct connecting *call, uint64_t until_ns, const sigset_t *mask)
{
    struct attempt faulty;
    if (call->flow && fault_attempt(call, until_ns, mask, &faulty))
        return faulty;
    if (call->target.protocol == PROTOCOL_UNIX)
        return unix_attempt(call, until_ns, mask);
    struct attempt attempt = attempt_start(call);
    uint64_t own_until_ns = call->own_send_ns ? clock_now_ns() + call->own_send_ns : NEVER;
    return attempt.how == ENDED_IN_FLIGHT ? attempt_wait(call, until_ns, own_until_ns, mask) : attempt;
}

/* Sends the SYN and comes back: a blocking socket with the shortest timeout there is does not block to speak of. A UNIX
 * socket whose server is busy is then where the program's own call would be waiting. */
struct attempt attempt_start(struct connecting *call)
{
    error_queue_drain(call->fd, call->address);
    attempt_set_send_option(call, 1);
    if (real.connect(call->fd, call->tried, call->tried_length) == 0)
        return (struct attempt){ENDED, 0};
    if (errno == EINPROGRESS || errno == EALREADY || errno == EAGAIN)
        return (struct attempt){ENDED_IN_FLIGHT, 0};
    return (struct attempt){ENDED, errno};
}

/* Waits for an attempt that is in flight. A second connect then says how it ended (kernel: 0, or the error). */
struct attempt attempt_wait(struct connecting *call, uint64_t until_ns, uint64_t own_until_ns,
                            const sigset_t *mask)
{
    bool is_own = own_until_ns < until_ns;
    for (;;) {
        enum waited waited = signals_wait(call->fd, POLLOUT, is_own ? own_until_ns : until_ns, mask);
        if (waited == WAITED_INTERRUPTED)
            return (struct attempt){ENDED_INTERRUPTED, EINTR};
        if (!is_still_ours(call))
            return (struct attempt){ENDED_CUT, ETIMEDOUT};
        if (waited == WAITED_OUT)
            return is_own ? (struct attempt){ENDED_OWN_TIMEOUT, EINPROGRESS} : take_back(call);
        if (real.connect(call->fd, call->tried, call->tried_length) == 0 || errno == EISCONN)
            return (struct attempt){ENDED, 0};
        if (errno != EALREADY && errno != EINPROGRESS)
            return (struct attempt){ENDED, errno};
        /* An error that connect does not take: something lies in the error queue that the program wants to read. */
        uint64_t soon_ns = clock_now_ns() + LOOK_AGAIN_NS;
        if (waited == WAITED_ERROR &&
            signals_wait(-1, 0, until_ns < soon_ns ? until_ns : soon_ns, mask) == WAITED_INTERRUPTED)
            return (struct attempt){ENDED_INTERRUPTED, EINTR};
    }
}

/* Cancels what is in flight, leaving a descriptor that can be connected again. */
static struct attempt take_back(struct connecting *call)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    if (!is_still_ours(call))
        return (struct attempt){ENDED_CUT, ETIMEDOUT};
    if (real.connect(call->fd, &none, sizeof none) == 0)
        return (struct attempt){ENDED_CUT, ETIMEDOUT};
    segment_passed(PASSED_CANCEL_FAILED);
    return (struct attempt){ENDED_OWN_TIMEOUT, EINPROGRESS}; /* the truth, then */
}

void attempt_set_send_option(struct connecting *call, uint64_t ns)
{
    if (ns != call->send_option_ns)
        option_set_timeout(call->fd, SO_SNDTIMEO, ns);
    call->send_option_ns = ns;
}

/* What the attempt means for the call, and what comes next. */
static struct call_step judge(struct blocking *blocking, struct attempt attempt, uint64_t began_ns,
                              uint64_t now_ns)
{
    struct connecting *call = blocking->call;
    struct call *state = &blocking->state;
    bool is_cut = attempt.how == ENDED_CUT;
    bool might_be_ours = attempt.error == EHOSTUNREACH || attempt.error == ENETUNREACH;
    enum outcome outcome =
        is_cut ? OUTCOME_TIMEOUT
               : outcome_of_connect(attempt.error, !might_be_ours || has_left(call, now_ns - began_ns));
    if (outcome == OUTCOME_RESET && was_shut(call))
        outcome = OUTCOME_OURS;
    if (state->attempts == 1 && outcome != OUTCOME_SUCCESS) {
        siblings_find(&blocking->siblings, call);
        state->params.siblings = blocking->tries_siblings ? blocking->siblings.count : 0;
    }
    if (outcome == OUTCOME_TIMEOUT) {
        host_count(call->host, HOST_TIMEOUTS);
        struct event event = about_attempt(EVENT_TIMEOUT_CONNECT, blocking);
        event.duration_ns = now_ns - began_ns;
        event.error = ETIMEDOUT;
        tell(&event);
    }
    return call_ended(state, outcome, attempt.error, now_ns);
}

/* Another attempt is to follow, if the budget allows it. */
static struct call_step announce(struct blocking *blocking, struct attempt attempt, struct call_step step,
                                 uint64_t now_ns)
{
    struct connecting *call = blocking->call;
    struct call *state = &blocking->state;
    bool is_sibling = step.action == CALL_ATTEMPT;
    if (!may_go_on(call))
        return is_sibling ? call_ended(state, OUTCOME_OURS, attempt.error, now_ns) : call_denied(state);
    if (!is_sibling && !budget_take(call->host, &call->rule->policy.retry.budget, now_ns))
        return call_denied(state);
    host_count(call->host, is_sibling ? HOST_SIBLINGS : HOST_RETRIES);
    struct event event = about_attempt(is_sibling ? EVENT_SIBLING : EVENT_RETRY, blocking);
    event.attempt = (uint16_t)(state->attempts - is_sibling); /* the next one has begun */
    event.duration_ns = now_ns - call->begun_ns;
    event.delay_ns = is_sibling ? 0 : step.until_ns - now_ns;
    event.error = attempt.error;
    tell(&event);
    return step;
}

/* Which attempt it was, of how many at most, and to which of several addresses. */
static struct event about_attempt(enum event_kind kind, const struct blocking *blocking)
{
    const struct connecting *call = blocking->call;
    const struct call_params *params = &blocking->state.params;
    uint64_t most = (uint64_t)(params->max_retries + 1) * (params->siblings + 1);
    struct event event = event_about(kind, call->text);
    event.attempt = (uint16_t)blocking->state.attempts;
    event.attempts = (uint16_t)(most < UINT16_MAX ? most : UINT16_MAX);
    if (blocking->siblings.known > 1)
        memcpy(event.address, call->tried_address.bytes, sizeof event.address);
    return event;
}

/* Another thread may have closed the number meanwhile: whatever has it now is none of ours. What the hooks have seen
 * decides until there is time to ask what the socket is known by. */
static bool is_still_ours(struct connecting *call)
{
    if (call->cookie)
        return option_cookie(call->fd) == call->cookie;
    if (descriptor_is_still(call->fd, call->note))
        call->cookie = option_cookie(call->fd);
    return call->cookie;
}

/* Without a system call where nothing speaks against it. */
static bool seems_ours(struct connecting *call)
{
    return descriptor_is_still(call->fd, call->note) || is_still_ours(call);
}

/* Another thread has ended the call by shutdown: what looks like a reset then is none of the peer's. */
static bool was_shut(const struct connecting *call)
{
    return descriptor_note(call->fd) & SOCKET_SHUT;
}

/* If not, what the last attempt came to is all that there is to say. */
static bool may_go_on(struct connecting *call)
{
    return is_still_ours(call) && !was_shut(call);
}

/* Was a SYN sent at all? A host without a route fails before, and at once. The kernel has forgotten what it sent; what a
 * router said of it lies in the error queue. */
static bool has_left(const struct connecting *call, uint64_t took_ns)
{
    return (call->flow && call->flow->has_failed) || took_ns > NS_PER_MS ||
           error_queue_drain(call->fd, call->address) > 0;
}

/* The program's own value, on its own socket. */
static void put_back_send_option(struct connecting *call)
{
    if (call->send_option_ns != call->own_send_ns && seems_ours(call))
        attempt_set_send_option(call, call->own_send_ns);
}

/* The call is over: tells the breaker, the recorder and the program. */
static int finish(struct blocking *blocking, const struct call_step *step)
{
    struct connecting *call = blocking->call;
    const struct call *state = &blocking->state;
    const struct policy *policy = &call->rule->policy;
    bool is_connected = step->ending == CALL_SUCCEEDED;
    host_count(call->host, is_connected ? HOST_CONNECTED : HOST_FAILED);
    if (is_connected)
        host_took(call->host, LATENCY_CONNECT, blocking->ended_ns - call->begun_ns);
    uint64_t now = is_connected && state->attempts == 1 ? 0 : clock_now_ns();
    if (now) {
        struct event event =
            about_attempt(is_connected ? EVENT_CONNECTED_LATE : EVENT_CONNECT_FAILED, blocking);
        event.duration_ns = now - call->begun_ns;
        event.error = step->error;
        event.count = is_connected ? 0 : given_up_because(step->why);
        tell(&event);
    }
    if (!is_connected && policy->retry.is_on)
        credits_leave(call->host.key, state, blocking->siblings.known, now);
    /* Where an answer is expected, being connected proves little: a hung server's kernel still accepts. */
    bool is_decided_later = is_connected && policy->timeout.response_ns;
    if (policy->breaker.is_on && !is_decided_later)
        connect_report(call->host, call->text, &policy->breaker.params,
                       policy->ladder ? CONNECT_LADDER : policy->breaker.error, call->ticket,
                       report_of(blocking, call_report(step), step->error), call->seed, false);
    if (is_connected) {
        if (policy->ladder)
            degrade_not(ladder_keep(call->rule), call->host);
        if (seems_ours(call)) {
            attempt_set_send_option(call, shorter(policy->timeout.send_ns, call->own_send_ns));
            transfer_adopt(call, policy->breaker.is_on && is_decided_later);
        } else {
            throttle_leave(call);
        }
        return 0;
    }
    throttle_leave(call);
    put_back_send_option(call);
    bool is_over = step->ending == CALL_FAILED && step->why != CALL_INTERRUPTED && ladder_is_for(step->error);
    call->is_exhausted = is_over && (policy->ladder || call->is_falling) && may_go_on(call);
    if (descriptor_is_still(call->fd, call->note))
        descriptor_note_without(call->fd, SOCKET_BEGUN);
    errno = step->error;
    return -1;
}

/* The program's own timeout, or its own signal, ended the call: what becomes of it the program will find out. */
static int finish_in_flight(struct blocking *blocking, struct attempt attempt)
{
    struct connecting *call = blocking->call;
    const struct policy *policy = &call->rule->policy;
    /* A retry that was told of is not the end of the story. */
    if (blocking->state.attempts > 1) {
        struct event event = about_attempt(EVENT_CONNECT_FAILED, blocking);
        event.duration_ns = clock_now_ns() - call->begun_ns;
        event.error = attempt.error;
        event.count = attempt.how == ENDED_INTERRUPTED ? GIVEN_UP_SIGNAL : GIVEN_UP_UNKNOWN;
        tell(&event);
    }
    put_back_send_option(call);
    if (policy->breaker.is_on)
        connect_report(call->host, call->text, &policy->breaker.params,
                       policy->ladder ? CONNECT_LADDER : policy->breaker.error, call->ticket,
                       report_of(blocking,
                                 attempt.how == ENDED_OWN_TIMEOUT ? BREAKER_FAILURE : BREAKER_NEUTRAL,
                                 attempt.error),
                       call->seed, false);
    if (seems_ours(call))
        throttle_keep(call);
    else
        throttle_leave(call);
    errno = attempt.error;
    return -1;
}

/* What the breaker hears: the failure of an address is not yet that of its name. */
static enum breaker_report report_of(const struct blocking *blocking, enum breaker_report report, int error)
{
    return siblings_report(&blocking->siblings, blocking->call, blocking->siblings_tried, report, error);
}
