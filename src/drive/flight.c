#include "drive/flight.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "drive/degrade.h"
#include "drive/error_queue.h"
#include "drive/fault_connect.h"
#include "drive/nudge.h"
#include "drive/raw.h"
#include "drive/shape.h"
#include "drive/silence.h"
#include "drive/throttle.h"
#include "drive/transfer.h"
#include "drive/turn.h"
#include "drive/withhold.h"
#include "hooks/real.h"
#include "state/credits.h"
#include "state/faults.h"
#include "state/latencies.h"
#include "state/own.h"
#include "state/segment.h"

#define QUEUE_LOOK_NS      NS_PER_MS
#define QUEUE_LOOK_MOST_NS (50 * NS_PER_MS)

static struct call_step attempt(struct pending *pending);
static bool enqueue(struct pending *pending);
static uint64_t next_look_ns(const struct pending *pending);
static bool go_down(struct pending *pending, int error);
static void show_failure(struct pending *pending, int error, bool is_ours);

void flight_settle(struct pending *pending, unsigned seen)
{
    if (!(seen & (POLLERR | POLLHUP))) {
        flight_succeed(pending);
        return;
    }
    int error = flight_take_so_error(pending->fd);
    if (error) {
        flight_judge(pending,
                     outcome_of_connect(error, (error != EHOSTUNREACH && error != ENETUNREACH) ||
                                                   flight_has_left(pending)),
                     error);
        return;
    }
    /* Connected and broken off at once, or somebody whom we do not see has read the error. */
    if (seen & POLLIN && !(seen & POLLERR)) {
        flight_succeed(pending);
        return;
    }
    flight_judge(pending, OUTCOME_OURS, 0);
}

void flight_judge(struct pending *pending, enum outcome outcome, int error)
{
    uint64_t now = clock_now_ns();
    if (outcome == OUTCOME_TIMEOUT) {
        host_count(pending->entry->host, HOST_TIMEOUTS);
        flight_tell(pending, EVENT_TIMEOUT_CONNECT, ETIMEDOUT, now - pending->began_ns, 0);
    }
    flight_carry_on(pending, call_ended(&pending->call, outcome, error, now));
}

void flight_carry_on(struct pending *pending, struct call_step step)
{
    for (;;) {
        uint64_t now = clock_now_ns();
        if (step.action == CALL_DONE) {
            if (step.ending == CALL_SUCCEEDED)
                flight_succeed(pending);
            else
                flight_fail(pending, &step);
            return;
        }
        if (step.action == CALL_ATTEMPT) {
            if (step.address)
                flight_tell_sibling(pending, now);
            step = attempt(pending);
            if (step.action == CALL_ATTEMPT) {
                pending_release(pending, step.until_ns);
                return;
            }
            continue;
        }
        if (pending->phase == PENDING_PARKED) { /* too early */
            pending_release(pending, step.until_ns);
            return;
        }
        if (!budget_take(pending->entry->host, &pending->budget, now)) {
            step = call_denied(&pending->call);
            continue;
        }
        error_queue_drain(pending->fd, &pending->address.any);
        nudge_attempt_ended(pending);
        if (!silence_begin(pending)) {
            pending->is_unparkable = true;
            step = call_denied(&pending->call);
            continue;
        }
        host_count(pending->entry->host, HOST_RETRIES);
        flight_tell(pending, EVENT_RETRY, pending->call.last_error, now - pending->call.begun_ns,
                    step.until_ns - now);
        pending_enter(pending, PENDING_PARKED);
        pending_release(pending, step.until_ns);
        return;
    }
}

/* Begins the attempt that the call is at. The step that follows: the same one while it is in flight. */
static struct call_step attempt(struct pending *pending)
{
    uint64_t now = clock_now_ns();
    if (pending->descent.is_waiting)
        return degrade_waited(pending);
    /* Made blocking where we did not see it, by another process say: we would wait for as long as the kernel likes. */
    if (!(real.fcntl(pending->fd, F_GETFL, 0) & O_NONBLOCK)) {
        segment_passed(PASSED_CANCEL_FAILED);
        return call_denied(&pending->call);
    }
    bool is_free = pending->phase == PENDING_PARKED ? silence_end(pending) : raw_disconnect(pending->fd);
    pending_enter(pending, PENDING_FLYING);
    pending->began_ns = now;
    nudge_attempt_begins(pending);
    flight_take_so_error(pending->fd);
    union flight_address other;
    struct sockaddr *address = flight_address(pending, &other);
    struct flow *flow = is_free ? flow_of(pending->entry) : NULL;
    int result = -1;
    if (is_free && !(flow && fault_at_once(flow, pending->entry, NULL, pending->fd, address, 0, &result)))
        result = raw_connect(pending->fd, address, pending->length);
    int error = result == 0 ? 0 : errno;
    /* What is over already need not be shown first. */
    unsigned seen = error == EINPROGRESS && pending->is_withheld ? raw_poll(pending->fd) : 0;
    if (seen)
        error = seen & (POLLERR | POLLHUP) ? flight_take_so_error(pending->fd) ?: ECONNRESET : 0;
    if (error == EAGAIN && enqueue(pending))
        return (struct call_step){.action = CALL_ATTEMPT, .until_ns = next_look_ns(pending)};
    if (error == EINPROGRESS) {
        silence_is_over(pending);
        if (flow)
            shape_attempt(pending, flow);
        return (struct call_step){.action = CALL_ATTEMPT, .until_ns = pending->call.due_ns};
    }
    return call_ended(&pending->call, outcome_of_connect(error, flight_has_left(pending)), error,
                      clock_now_ns());
}

void flight_begin_last(struct pending *pending)
{
    uint64_t now = clock_now_ns();
    struct call_step step = {.action = CALL_ATTEMPT, .until_ns = pending->call.due_ns};
    pending->call.params.max_retries = pending->call.params.siblings = 0;
    if (pending->phase == PENDING_PARKED) {
        if (pending->turn.is_waiting) {
            struct call_params params = pending->call.params;
            turn_leave(pending);
            nudge_attempt_ended(pending);
            step = call_begin(&pending->call, &params, BREAKER_ADMIT, pending->seed, now);
        } else {
            pending->call.due_ns = now; /* now or never */
            step = call_due(&pending->call, now);
        }
        if (step.action == CALL_ATTEMPT)
            step = attempt(pending);
    }
    if (pending->is_queued) { /* it is tried by connecting, which would wait */
        pending->is_queued = false;
        step = call_ended(&pending->call, OUTCOME_OURS, EAGAIN, now);
    }
    if (step.action == CALL_ATTEMPT)
        pending_release(pending, step.until_ns);
    else
        flight_carry_on(pending, step);
}

bool flight_queue(struct pending *pending)
{
    if (!enqueue(pending))
        return false;
    pending_release(pending, next_look_ns(pending));
    return true;
}

void flight_queue_again(struct pending *pending)
{
    if (clock_now_ns() >= pending->call.due_ns) {
        pending->is_queued = false;
        flight_judge(pending, OUTCOME_TIMEOUT, ETIMEDOUT);
        return;
    }
    int error =
        raw_connect(pending->fd, (struct sockaddr *)&pending->path.address, pending->length) == 0 ? 0 : errno;
    if (error == EAGAIN) {
        pending_release(pending, next_look_ns(pending));
        return;
    }
    pending->is_queued = false;
    flight_judge(pending, outcome_of_connect(error, true), error);
}

static bool enqueue(struct pending *pending)
{
    if (pending->address.any.sa_family != AF_UNIX || pending->call.due_ns == NEVER)
        return false;
    pending->is_queued = pending->is_withheld = true;
    withhold(pending, WITHHOLD_ALL, NEVER);
    return true;
}

/* Rarer and rarer: nobody says when there is room. */
static uint64_t next_look_ns(const struct pending *pending)
{
    uint64_t now = clock_now_ns(), pause_ns = (now - pending->began_ns) / 4;
    if (pause_ns < QUEUE_LOOK_NS)
        pause_ns = QUEUE_LOOK_NS;
    if (pause_ns > QUEUE_LOOK_MOST_NS)
        pause_ns = QUEUE_LOOK_MOST_NS;
    return now + pause_ns < pending->call.due_ns ? now + pause_ns : pending->call.due_ns;
}

struct sockaddr *flight_address(struct pending *pending, union flight_address *other)
{
    uint32_t number = pending->call.address;
    if (pending->address.any.sa_family == AF_UNIX)
        return (struct sockaddr *)&pending->path.address;
    if (number == 0 || number > pending->siblings.count)
        return &pending->address.any;
    const struct address *sibling = &pending->siblings.others[number - 1];
    if (number > pending->siblings_tried)
        pending->siblings_tried = number;
    memcpy(other, &pending->address, sizeof *other);
    if (other->any.sa_family == AF_INET)
        memcpy(&other->v4.sin_addr, sibling->bytes + 12, 4);
    else
        memcpy(&other->v6.sin6_addr, sibling->bytes, 16);
    return &other->any;
}

void flight_succeed(struct pending *pending)
{
    struct descriptor *entry = pending->entry;
    const struct guard *guard = descriptor_guard(entry);
    silence_is_over(pending);
    nudge_attempt_ended(pending);
    host_count(entry->host, HOST_CONNECTED);
    uint64_t took_ns = clock_now_ns() - pending->call.begun_ns;
    host_took(entry->host, LATENCY_CONNECT, took_ns);
    if (pending->call.attempts > 1)
        flight_tell(pending, EVENT_CONNECTED_LATE, 0, took_ns, 0);
    bool is_late = pending->is_shadow && pending->shadow.connect_ns && took_ns > pending->shadow.connect_ns;
    if (is_late)
        flight_tell_what_would_follow(pending, OUTCOME_TIMEOUT, ETIMEDOUT);
    /* Where an answer is expected, being connected proves little: a hung server's kernel still accepts. */
    bool is_seen = !(atomic_load_explicit(&entry->state, memory_order_relaxed) & HANDED_OVER);
    bool is_decided_later = guard->has_exchanges && pending->has_breaker && !is_late && is_seen;
    if (!is_decided_later)
        flight_report(pending, is_late ? BREAKER_FAILURE : BREAKER_SUCCESS, 0);
    uint32_t set = (guard->has_exchanges ? IDLE | FIRST_EXCHANGE : 0) |
                   (is_decided_later ? HOLDS_TICKET : 0) | (guard_times_waits(guard) ? WAITS_ARE_TIMED : 0);
    int fd = pending->fd;
    if (!(atomic_load_explicit(&entry->state, memory_order_relaxed) & NON_BLOCKING))
        transfer_connected_midway(entry, fd);
    if (pending->descent.kept)
        degrade_succeeded(pending);
    bool has_more = guard->has_exchanges || guard->recv_ns || guard->send_ns || guard_times_waits(guard) ||
                    atomic_load_explicit(&entry->state, memory_order_relaxed) & FAULTY ||
                    atomic_load_explicit(&entry->degraded, memory_order_relaxed) ||
                    atomic_load_explicit(&entry->holds_place, memory_order_relaxed);
    /* Another thread that is shown that it is connected may close the number at once: it waits for the slot, and what has the number
     * afterwards is another's. Who finds nothing there any more is to know that something has ended. */
    pending_enter(pending, PENDING_ANSWER);
    uint32_t before =
        atomic_load_explicit(&entry->state, memory_order_relaxed); /* others change other bits */
    while (!own_replace_32(&entry->state, &before, (before | set) & ~CONNECTING))
        ;
    if (!has_more)
        descriptor_drop(fd, NULL); /* nothing to watch: the data path is as it was */
    if (guard->response_ns)
        pending_keep(pending);
    else
        pending_end(pending);
}

void flight_fail(struct pending *pending, const struct call_step *step)
{
    struct descriptor *entry = pending->entry;
    bool was_parked = pending->phase == PENDING_PARKED;
    if (was_parked) {
        silence_end(pending);
        flight_take_so_error(pending->fd);
    }
    nudge_attempt_ended(pending);
    throttle_failed(entry);
    uint64_t now = clock_now_ns();
    host_count(entry->host, HOST_FAILED);
    if (pending->is_shadow)
        flight_tell_what_would_follow(pending, step->outcome, step->error);
    else
        flight_tell_failure(pending, step, now);
    if (pending->has_retry)
        credits_leave(entry->host.key, &pending->call, pending->siblings.known, now);
    flight_report(pending, call_report(step), step->error);
    if (!pending->is_shadow && go_down(pending, step->error))
        return;
    show_failure(pending, step->error, step->outcome == OUTCOME_TIMEOUT || was_parked);
}

void flight_reject(struct pending *pending, int error)
{
    silence_end(pending);
    flight_take_so_error(pending->fd);
    nudge_attempt_ended(pending);
    throttle_failed(pending->entry);
    if (!go_down(pending, error))
        show_failure(pending, error, true);
}

/* What there is instead, by the ladder of its rule. False: nothing. */
static bool go_down(struct pending *pending, int error)
{
    struct call_step next;
    bool is_served;
    if (!(atomic_load_explicit(&pending->entry->state, memory_order_relaxed) & NON_BLOCKING))
        return false; /* to connect would be to wait */
    if (!pending->descent.kept || !degrade_next(pending, error, &next, &is_served))
        return false;
    if (is_served)
        flight_succeed(pending);
    else
        flight_carry_on(pending, next);
    return true;
}

/* What we have taken back looks to the kernel as if it had never been connected. To the program it has failed: then there is
 * nothing more to receive. */
static void show_failure(struct pending *pending, int error, bool is_ours)
{
    struct descriptor *entry = pending->entry;
    entry->due_recv_error = (int16_t)error;
    if (error)
        atomic_fetch_or_explicit(&entry->state, CONNECT_ERROR_DUE | (is_ours ? CUT_OFF : 0),
                                 memory_order_relaxed);
    atomic_fetch_and_explicit(&entry->state, ~CONNECTING, memory_order_release);
    silence_is_over(pending);
    if (!error) {
        pending_end(pending);
        return;
    }
    pending_enter(pending, PENDING_FAILED);
    pending_release(pending, NEVER);
}

int flight_take_so_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;
    return real.getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : 0;
}

bool flight_has_left(const struct pending *pending)
{
    const struct flow *flow = flow_of(pending->entry);
    return (flow && flow->has_failed) || clock_now_ns() - pending->began_ns > NS_PER_MS ||
           error_queue_drain(pending->fd, &pending->address.any) > 0;
}
