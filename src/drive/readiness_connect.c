/* The program begins to connect a descriptor that does not block. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "drive/degrade.h"
#include "drive/fault_connect.h"
#include "drive/flight.h"
#include "drive/nudge.h"
#include "drive/options.h"
#include "drive/raw.h"
#include "drive/readiness.h"
#include "drive/shape.h"
#include "drive/siblings.h"
#include "drive/signals.h"
#include "drive/throttle.h"
#include "drive/transfer.h"
#include "drive/turn.h"
#include "hooks/real.h"
#include "state/credits.h"
#include "state/faults.h"
#include "state/process.h"
#include "state/segment.h"

static void pass(struct connecting *call, int result, int error);
static void begin_late(struct pending *pending, int fd, struct flow *flow);
static void decide_at_once(struct connecting *call, struct pending *pending, int result, int *error);
static struct pending *begin(struct connecting *call);
static void keep_address(struct pending *pending, const struct connecting *call);
static void begin_call(struct pending *pending, struct connecting *call);
static enum outcome outcome_at_once(const struct pending *pending, int error);

int readiness_connect(struct connecting *call)
{
    /* Another thread may be in an epoll that the descriptor is registered with, and would take what it sees of a descriptor
     * that is not connected yet for the end of the attempt: it has to wait until the call is made. */
    bool is_alone = process_is_alone();
    int before = errno;
    sigset_t mask;
    if (!is_alone) {
        pthread_testcancel();
        signals_block(&mask);
    }
    struct pending *pending = begin(call);
    if (pending && is_alone)
        pending_release(pending, pending->call.due_ns);
    int result;
    struct flow *flow = pending ? flow_of(pending->entry) : call->flow;
    bool is_made = flow && fault_at_once(flow, pending ? pending->entry : NULL, call->text, call->fd,
                                         call->address, call->caller, &result);
    if (!is_made)
        result = is_alone ? real.connect(call->fd, call->address, call->length)
                          : raw_connect(call->fd, call->address, call->length);
    int error = result == 0 ? before : errno;
    if (!pending)
        pass(call, result, error);
    else if (result == 0 || error != EINPROGRESS)
        decide_at_once(call, is_alone ? NULL : pending, result, &error);
    else if (flow && flow->connect_delay_ns)
        begin_late(is_alone ? NULL : pending, call->fd, flow);
    else if (!is_alone)
        pending_release(pending, pending->call.due_ns);
    if (!is_alone)
        signals_restore(&mask);
    errno = error;
    return result;
}

int readiness_queue(struct connecting *call)
{
    int error = EINPROGRESS;
    sigset_t mask;
    signals_block(&mask);
    struct pending *pending = begin(call);
    if (!pending || !turn_begin(pending, call)) {
        if (pending)
            pending_end(pending);
        transfer_let_go(call->fd); /* with its place, if it has one */
        throttle_reject(call);
        error = errno;
    }
    signals_restore(&mask);
    errno = error;
    return -1;
}

int readiness_degrade(struct connecting *call)
{
    int error = errno;
    sigset_t mask;
    signals_block(&mask);
    struct pending *pending = begin(call);
    struct descriptor *entry = pending ? pending->entry : NULL;
    struct call_step step;
    bool is_served = false;
    if (pending && degrade_next(pending, error, &step, &is_served)) {
        if (is_served)
            flight_succeed(pending);
        else
            flight_carry_on(pending, step);
        error = EINPROGRESS;
        readiness_take_error(entry, &error);
    } else if (pending) {
        pending_end(pending);
        descriptor_drop(call->fd, NULL);
    }
    signals_restore(&mask);
    errno = error;
    return -1;
}

/* There was no memory for more than the call itself. */
static void pass(struct connecting *call, int result, int error)
{
    const struct policy *policy = &call->rule->policy;
    if (policy->breaker.is_on)
        connect_report(call->host, call->text, &policy->breaker.params, policy->breaker.error, call->ticket,
                       BREAKER_NEUTRAL, call->seed, call->is_shadow);
    if (result == 0 || error == EINPROGRESS)
        throttle_keep(call);
    else
        throttle_leave(call);
}

/* The attempt is in flight, and is to be so for longer. The slot is claimed, or NULL: not yet. */
static void begin_late(struct pending *pending, int fd, struct flow *flow)
{
    sigset_t mask;
    signals_block(&mask);
    struct descriptor *entry = pending ? NULL : descriptor_of(fd);
    if (entry)
        pending = pending_claim(entry);
    if (pending) {
        shape_attempt(pending, flow);
        pending_release(pending, pending->call.due_ns);
    }
    signals_restore(&mask);
}

/* The call itself says what became of the attempt. `error` becomes what the program gets: perhaps that it is in progress.
 * The slot is claimed, or NULL: not yet. */
static void decide_at_once(struct connecting *call, struct pending *pending, int result, int *error)
{
    sigset_t mask;
    signals_block(&mask);
    struct descriptor *entry = pending ? pending->entry : descriptor_of(call->fd);
    if (!pending && entry)
        pending = pending_claim(entry);
    if (pending && result == 0) {
        flight_succeed(pending);
    } else if (pending && *error == EAGAIN && !pending->is_shadow && flight_queue(pending)) {
        *error = EINPROGRESS;
    } else if (pending) {
        flight_judge(pending, outcome_at_once(pending, *error), *error);
        if (!readiness_take_error(entry, error))
            *error = EINPROGRESS;
    }
    signals_restore(&mask);
}

/* Guards the descriptor and gets ready for what may happen to it from the moment of the call on. NULL: it cannot be
 * had, and the call passes through. */
static struct pending *begin(struct connecting *call)
{
    const struct policy *policy = &call->rule->policy;
    const struct guard *guard = call->is_shadow ? guard_of_shadow(policy) : guard_of_rule(call->rule);
    uint64_t cookie = guard && process_owns_memory() ? option_cookie(call->fd) : 0;
    struct descriptor *entry =
        cookie ? descriptor_adopt(call->fd, cookie, guard, call->host, call->text) : NULL;
    struct pending *pending = entry ? pending_take(entry) : NULL;
    if (!pending) {
        segment_passed(PASSED_NO_MEMORY);
        descriptor_drop(call->fd, NULL);
        return NULL;
    }
    atomic_store_explicit(&pending->fd, call->fd, memory_order_relaxed); /* nobody sees it yet */
    begin_call(pending, call);
    pending->budget = policy->retry.budget;
    pending->seed = call->seed;
    pending->began_ns = call->begun_ns;
    pending->breaker_error = policy->breaker.error;
    pending->has_breaker = policy->breaker.is_on;
    pending->has_retry = policy->retry.is_on && !call->is_shadow;
    pending->is_unparkable = pending->is_withheld = pending->is_queued = false;
    pending->is_shadow = call->is_shadow;
    pending->turn.is_waiting = false;
    pending->shadow.connect_ns = policy->timeout.connect_ns;
    pending->shadow.max_retries = policy->retry.is_on ? policy->retry.max_retries : 0;
    pending->connects_before =
        call->host.host ? atomic_load_explicit(&call->host.host->counts[HOST_CONNECTED], memory_order_relaxed)
                        : 0;
    keep_address(pending, call);
    degrade_begin(&pending->descent, call);
    entry->ticket = call->ticket;
    entry->owner = process_id();
    atomic_store_explicit(&entry->state, CONNECTING | NON_BLOCKING | OPTIONS_LATER, memory_order_release);
    if (call->flow)
        flow_attach(entry, call->flow);
    call->flow = NULL;
    transfer_adopt_copies(entry, call->fd);
    if (descriptor_is_stream(call->fd))
        atomic_fetch_or_explicit(&entry->state, HANDED_OVER, memory_order_relaxed);
    throttle_connected(call, entry);
    nudge_attempt_begins(pending);
    return pending_publish(pending, PENDING_FLYING) ? pending : NULL; /* nobody else knows the entry yet */
}

static void keep_address(struct pending *pending, const struct connecting *call)
{
    bool is_path = call->address->sa_family == AF_UNIX;
    size_t most = is_path ? sizeof pending->path.address : sizeof pending->address;
    size_t length = call->length < most ? call->length : most;
    memcpy(&pending->address, call->address,
           length < sizeof pending->address ? length : sizeof pending->address);
    if (is_path)
        memcpy(&pending->path.address, call->address, length);
    pending->length = (socklen_t)length;
}

static void begin_call(struct pending *pending, struct connecting *call)
{
    const struct policy *policy = &call->rule->policy;
    struct call_params params = {.retry_on = policy->retry.retry_on,
                                 .backoff = policy->retry.backoff,
                                 .rejected_error = policy->breaker.error,
                                 .timeout_error = ETIMEDOUT};
    pending->siblings.count = 0; /* of the others nothing is read then */
    pending->siblings.known = 1;
    pending->siblings_tried = 0;
    bool is_retried = policy->retry.is_on && !call->is_shadow;
    if (!call->is_shadow) {
        params.attempt_timeout_ns = policy->timeout.connect_ns;
        params.total_ns = policy->timeout.total_ns;
    }
    if (is_retried) {
        budget_call(call->host, &policy->retry.budget, call->begun_ns);
        /* Retried for already by a call that has failed: not even siblings, which were tried too. */
        if (call->verdict != BREAKER_PROBE && credits_use(call->host.key, call->begun_ns)) {
            host_count(call->host, HOST_SINGLES);
        } else {
            params.max_retries = policy->retry.max_retries;
            if (policy->retry.addresses == ADDRESSES_SIBLINGS)
                siblings_find(&pending->siblings, call);
            params.siblings = pending->siblings.count;
        }
    }
    siblings_mark(&pending->marks, &pending->siblings, call);
    call_begin(&pending->call, &params, call->verdict, call->seed, call->begun_ns);
}

/* Of a call that does not wait. Once a failed attempt's error has been read, the next connect gets ECONNABORTED from the
 * kernel: that is about the attempt before. */
static enum outcome outcome_at_once(const struct pending *pending, int error)
{
    return error == ECONNABORTED ? OUTCOME_OURS : outcome_of_connect(error, flight_has_left(pending));
}
