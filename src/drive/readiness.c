#include "drive/readiness.h"

#include <errno.h>
#include <linux/tcp.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "drive/deadline.h"
#include "drive/degrade.h"
#include "drive/error_queue.h"
#include "drive/nudge.h"
#include "drive/options.h"
#include "drive/park.h"
#include "drive/raw.h"
#include "drive/siblings.h"
#include "drive/signals.h"
#include "drive/throttle.h"
#include "drive/transfer.h"
#include "hooks/real.h"
#include "state/credits.h"
#include "state/pending.h"
#include "state/process.h"
#include "state/segment.h"

union sibling {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static void pass(struct connecting *call, int result, int error);
static void decide_at_once(struct connecting *call, struct pending *pending, int result, int *error);
static struct pending *begin(struct connecting *call);
static void begin_call(struct pending *pending, struct connecting *call);
static void settle(struct pending *pending, unsigned seen);
static void judge(struct pending *pending, enum outcome outcome, int error);
static void carry_on(struct pending *pending, struct call_step step);
static struct call_step attempt(struct pending *pending);
static void tell_sibling(struct pending *pending, uint64_t now_ns);
static void succeed(struct pending *pending);
static void fail(struct pending *pending, const struct call_step *step);
static void report(struct pending *pending, enum breaker_report what, int error);
static void tell_what_would_follow(struct pending *pending, enum outcome outcome, int error);
static struct sockaddr *address_of(struct pending *pending, union sibling *sibling);
static void tell_about(struct pending *pending, enum event_kind kind, int error, uint64_t duration_ns,
                       uint64_t delay_ns);
static struct event about(struct pending *pending, enum event_kind kind);
static void tell_failure(struct pending *pending, const struct call_step *step, uint64_t now_ns);
static struct pending *claim(int fd, struct descriptor *entry);
static bool is_at(struct pending *pending, int fd);
static bool is_still_there(struct pending *pending);
static int take_so_error(int fd);
static enum outcome outcome_at_once(const struct pending *pending, int error);
static bool has_left(const struct pending *pending);
static unsigned retransmits(int fd);
static void act(struct pending *pending, void *context);

int readiness_connect(struct connecting *call)
{
    /* Another thread may be in an epoll that the descriptor is registered with, and would take what it sees of a descriptor
     * that is not connected yet for the end of the attempt: it has to wait until the call is made. */
    bool is_alone = real_is_alone();
    int before = errno;
    sigset_t mask;
    if (!is_alone) {
        pthread_testcancel();
        signals_block(&mask);
    }
    struct pending *pending = begin(call);
    if (pending && is_alone)
        pending_release(pending, pending->call.due_ns);
    int result = is_alone ? real.connect(call->fd, call->address, call->length)
                          : raw_connect(call->fd, call->address, call->length);
    int error = result == 0 ? before : errno;
    if (!pending)
        pass(call, result, error);
    else if (result == 0 || error != EINPROGRESS)
        decide_at_once(call, is_alone ? NULL : pending, result, &error);
    else if (!is_alone)
        pending_release(pending, pending->call.due_ns);
    if (!is_alone)
        signals_restore(&mask);
    errno = error;
    return result;
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
            succeed(pending);
        else
            carry_on(pending, step);
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
        succeed(pending);
    } else if (pending) {
        judge(pending, outcome_at_once(pending, *error), *error);
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
    const struct guard *guard = call->is_shadow ? guard_of_shadow(policy) : guard_of(policy);
    struct descriptor *entry =
        guard && process_owns_memory()
            ? descriptor_adopt(call->fd, option_cookie(call->fd), guard, call->host, call->text)
            : NULL;
    struct pending *pending = entry ? pending_take(entry) : NULL;
    if (!pending) {
        segment_passed(PASSED_NO_MEMORY);
        descriptor_drop(call->fd, NULL);
        return NULL;
    }
    pending->fd = call->fd;
    begin_call(pending, call);
    pending->budget = policy->retry.budget;
    pending->seed = call->seed;
    pending->began_ns = call->begun_ns;
    pending->breaker_error = policy->breaker.error;
    pending->has_breaker = policy->breaker.is_on;
    pending->has_retry = policy->retry.is_on && !call->is_shadow;
    pending->is_unparkable = false;
    pending->is_shadow = call->is_shadow;
    pending->shadow.connect_ns = policy->timeout.connect_ns;
    pending->shadow.max_retries = policy->retry.is_on ? policy->retry.max_retries : 0;
    pending->connects_before =
        call->host.host ? atomic_load_explicit(&call->host.host->counts[HOST_CONNECTED], memory_order_relaxed)
                        : 0;
    pending->length = call->length < sizeof pending->address ? call->length : sizeof pending->address;
    memcpy(&pending->address, call->address, pending->length);
    degrade_begin(&pending->descent, call);
    entry->ticket = call->ticket;
    entry->owner = process_id();
    atomic_store_explicit(&entry->state, CONNECTING | NON_BLOCKING | OPTIONS_LATER, memory_order_release);
    transfer_adopt_copies(entry, call->fd);
    throttle_connected(call, entry);
    nudge_attempt_begins(pending);
    return pending_publish(pending, PENDING_FLYING) ? pending : NULL; /* nobody else knows the entry yet */
}

static void begin_call(struct pending *pending, struct connecting *call)
{
    const struct policy *policy = &call->rule->policy;
    struct call_params params = {.retry_on = policy->retry.retry_on,
                                 .backoff = policy->retry.backoff,
                                 .rejected_error = policy->breaker.error,
                                 .timeout_error = ETIMEDOUT};
    pending->siblings = (struct siblings){.known = 1};
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

bool readiness_connect_again(int fd, struct descriptor *entry, const struct sockaddr *address,
                             socklen_t length, int *result)
{
    struct target ignored;
    int error;
    if (!target_of_sockaddr(address, length,
                            &ignored)) { /* it disconnects, or the kernel will say what is wrong */
        readiness_give_up(fd, entry);
        return false;
    }
    if (readiness_look(fd, entry)) {
        errno = EALREADY;
        *result = -1;
        return true;
    }
    if (readiness_take_error(entry, &error)) {
        raw_disconnect(fd); /* or the kernel would have its say about it once more */
        transfer_let_go(fd);
        errno = error;
        *result = -1;
        return true;
    }
    *result = real.connect(fd, address, length); /* the kernel gives 0 once, then EISCONN */
    return true;
}

bool readiness_look(int fd, struct descriptor *entry)
{
    int error = errno;
    if (!(atomic_load_explicit(&entry->state, memory_order_acquire) & CONNECTING) || !process_owns_memory())
        return false;
    sigset_t mask;
    signals_block(&mask);
    /* First: an attempt that this begins may have failed by the time that the program's call is made. */
    if (pending_is_busy())
        readiness_run(clock_now_ns(), NULL);
    struct pending *pending = claim(fd, entry);
    unsigned seen = pending && pending->phase == PENDING_FLYING ? raw_poll(fd) : 0;
    if (seen)
        settle(pending, seen);
    else if (pending)
        pending_release(pending, atomic_load_explicit(&pending->due_ns, memory_order_relaxed));
    signals_restore(&mask);
    errno = error;
    /* A fork child has the entry, and nothing pending: the attempt is what the kernel says it is. */
    if (!pending && entry->owner != process_id())
        atomic_fetch_and_explicit(&entry->state, ~CONNECTING, memory_order_acq_rel);
    return pending && atomic_load_explicit(&entry->state, memory_order_acquire) & CONNECTING;
}

bool readiness_take_error(struct descriptor *entry, int *error)
{
    if (!(atomic_load_explicit(&entry->state, memory_order_acquire) & CONNECT_ERROR_DUE))
        return false;
    int due = entry->due_recv_error;
    if (!(atomic_fetch_and_explicit(&entry->state, ~CONNECT_ERROR_DUE, memory_order_acq_rel) &
          CONNECT_ERROR_DUE))
        return false; /* another thread took it */
    *error = due;
    if (process_owns_memory()) {
        sigset_t mask;
        signals_block(&mask);
        struct pending *pending = pending_claim(entry);
        if (pending)
            pending_end(pending);
        signals_restore(&mask);
    }
    return true;
}

bool readiness_so_error(int fd, struct descriptor *entry, int *error)
{
    if (readiness_look(fd, entry)) {
        *error = 0;
        return true;
    }
    return readiness_take_error(entry, error);
}

void readiness_give_up(int fd, struct descriptor *entry)
{
    /* What has failed is parked first, so that the kernel sees what the program does: it is still connecting. */
    if (readiness_look(fd, entry))
        readiness_abandon(fd, entry);
}

void readiness_abandon(int fd, struct descriptor *entry)
{
    int error = errno;
    sigset_t mask;
    signals_block(&mask);
    struct pending *pending = pending_claim(entry);
    if (pending && !is_at(pending, fd)) {
        /* Closed behind our back: what has the number now is none of ours. */
        segment_passed(PASSED_STALE);
        report(pending, BREAKER_NEUTRAL, 0);
        pending_end(pending);
    } else if (pending && (pending->phase == PENDING_ANSWER || pending->phase == PENDING_FAILED)) {
        pending_end(pending);
    } else if (pending) {
        /* Losers of a race between addresses are closed while they are in flight: that says nothing of the host. Unless
         * the kernel has had to ask again and nobody else has got through. */
        const struct host *host = entry->host.host;
        bool has_winner = host && atomic_load_explicit(&host->counts[HOST_CONNECTED], memory_order_relaxed) !=
                                      pending->connects_before;
        unsigned seen = pending->phase == PENDING_FLYING ? raw_poll(fd) : 0;
        int told = seen & (POLLERR | POLLHUP) ? take_so_error(fd) : 0;
        enum outcome outcome = told ? outcome_of_connect(told, has_left(pending)) : OUTCOME_OURS;
        if (pending->phase == PENDING_PARKED) {
            outcome = pending->call.last_outcome;
            stay_parked(fd, &pending->address.any, pending->saved_hops);
        } else if (!seen && retransmits(fd)) {
            outcome = OUTCOME_TIMEOUT;
        } else if (seen && !(seen & (POLLERR | POLLHUP))) {
            outcome = OUTCOME_SUCCESS;
        }
        atomic_fetch_and_explicit(&entry->state, ~CONNECTING, memory_order_acq_rel);
        bool is_failure = outcome_is_failure(outcome) && !has_winner;
        bool is_late = clock_now_ns() - pending->call.begun_ns > pending->shadow.connect_ns;
        if (pending->is_shadow && pending->shadow.connect_ns && is_late && outcome != OUTCOME_SUCCESS)
            tell_what_would_follow(pending, OUTCOME_TIMEOUT, ETIMEDOUT);
        if (entry->owner == process_id()) {
            if (is_failure)
                host_count(entry->host, HOST_FAILED);
            report(pending,
                   outcome == OUTCOME_SUCCESS ? BREAKER_SUCCESS
                   : is_failure               ? BREAKER_FAILURE
                                              : BREAKER_NEUTRAL,
                   told);
        }
        if (told && !(seen & POLLNVAL)) { /* the program may yet ask */
            entry->due_recv_error = (int16_t)told;
            atomic_fetch_or_explicit(&entry->state, CONNECT_ERROR_DUE, memory_order_release);
        }
        pending_end(pending);
    }
    signals_restore(&mask);
    errno = error;
}

void readiness_hand_over(int fd, struct descriptor *entry)
{
    int error = errno;
    sigset_t mask;
    signals_block(&mask);
    struct pending *pending = claim(fd, entry);
    if (pending && pending->phase == PENDING_PARKED && unpark(fd, &pending->address.any, pending->saved_hops))
        raw_connect(fd, &pending->address.any, pending->length);
    if (pending) {
        nudge_attempt_ended(pending);
        report(pending, BREAKER_NEUTRAL, 0);
        atomic_fetch_and_explicit(&entry->state, ~CONNECTING, memory_order_acq_rel);
        pending_end(pending);
    }
    signals_restore(&mask);
    errno = error;
}

void readiness_run(uint64_t now_ns, const struct waiter *waiter)
{
    pending_run(now_ns, act, (void *)waiter);
}

static void act(struct pending *pending, void *context)
{
    if (pending->phase == PENDING_ANSWER && deadline_of(pending) > clock_now_ns()) {
        pending_release(pending, deadline_of(pending));
        return;
    }
    if (!is_still_there(pending)) {
        segment_passed(PASSED_STALE);
        report(pending, BREAKER_NEUTRAL, 0);
        pending_end(pending);
        return;
    }
    if (pending->phase == PENDING_ANSWER) {
        deadline_due(pending, context);
        return;
    }
    uint64_t now = clock_now_ns();
    if (pending->phase == PENDING_PARKED) {
        carry_on(pending, call_due(&pending->call, now));
        return;
    }
    if (now < pending->call.due_ns) {
        pending_release(pending, pending->call.due_ns);
        return;
    }
    unsigned seen = raw_poll(pending->fd);
    if (seen) {
        settle(pending, seen);
    } else if (raw_disconnect(pending->fd)) {
        take_so_error(pending->fd); /* ECONNRESET: our own doing */
        judge(pending, OUTCOME_TIMEOUT, ETIMEDOUT);
    } else {
        segment_passed(PASSED_CANCEL_FAILED); /* the truth, then */
        pending_release(pending, NEVER);
    }
}

unsigned readiness_sift(int fd, struct descriptor *entry, unsigned seen, unsigned asked)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_acquire);
    struct pending *pending = state & CONNECTING ? claim(fd, entry) : NULL;
    if (pending) {
        /* What was seen may be over: another thread has begun the next attempt meanwhile. */
        unsigned now = raw_poll(fd);
        if (pending->phase == PENDING_PARKED && now) {
            /* Something has ended the silence: a timeout that the program set, say. */
            unpark(fd, &pending->address.any, pending->saved_hops);
            if (!park(fd, &pending->address.any, &pending->saved_hops)) {
                segment_passed(PASSED_NOT_PARKED);
                pending->is_unparkable = true;
                pending_enter(pending, PENDING_FLYING);
                struct call_step step = call_denied(&pending->call);
                fail(pending, &step);
                pending = NULL;
            }
        } else if (pending->phase == PENDING_FLYING && now) {
            settle(pending, now);
            pending = NULL;
        }
        if (pending)
            pending_release(pending, atomic_load_explicit(&pending->due_ns, memory_order_relaxed));
        state = atomic_load_explicit(&entry->state, memory_order_acquire);
        if (state & CONNECTING)
            return 0;
        seen = raw_poll(fd) & (asked | POLLERR | POLLHUP);
    }
    if (!(state & CONNECT_ERROR_DUE))
        return seen;
    /* As the kernel shows a failure; one of ours it takes for a descriptor that was never connected. */
    return seen | POLLERR | (asked & (POLLIN | POLLOUT | POLLRDHUP));
}

/* The attempt has ended: `seen` is not nothing. */
static void settle(struct pending *pending, unsigned seen)
{
    if (!(seen & (POLLERR | POLLHUP))) {
        succeed(pending);
        return;
    }
    int error = take_so_error(pending->fd);
    if (error) {
        judge(pending,
              outcome_of_connect(error, (error != EHOSTUNREACH && error != ENETUNREACH) || has_left(pending)),
              error);
        return;
    }
    /* Connected and broken off at once, or somebody whom we do not see has read the error. */
    if (seen & POLLIN && !(seen & POLLERR)) {
        succeed(pending);
        return;
    }
    judge(pending, OUTCOME_OURS, 0);
}

static void judge(struct pending *pending, enum outcome outcome, int error)
{
    uint64_t now = clock_now_ns();
    if (outcome == OUTCOME_TIMEOUT) {
        host_count(pending->entry->host, HOST_TIMEOUTS);
        tell_about(pending, EVENT_TIMEOUT_CONNECT, ETIMEDOUT, now - pending->began_ns, 0);
    }
    carry_on(pending, call_ended(&pending->call, outcome, error, now));
}

/* Does what the policy says, until there is something to wait for. */
static void carry_on(struct pending *pending, struct call_step step)
{
    for (;;) {
        uint64_t now = clock_now_ns();
        if (step.action == CALL_DONE) {
            if (step.ending == CALL_SUCCEEDED)
                succeed(pending);
            else
                fail(pending, &step);
            return;
        }
        if (step.action == CALL_ATTEMPT) {
            if (step.address)
                tell_sibling(pending, now);
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
        if (!park(pending->fd, &pending->address.any, &pending->saved_hops)) {
            segment_passed(PASSED_NOT_PARKED);
            pending->is_unparkable = true;
            step = call_denied(&pending->call);
            continue;
        }
        host_count(pending->entry->host, HOST_RETRIES);
        tell_about(pending, EVENT_RETRY, pending->call.last_error, now - pending->call.begun_ns,
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
    bool is_free = pending->phase == PENDING_PARKED
                       ? unpark(pending->fd, &pending->address.any, pending->saved_hops)
                       : raw_disconnect(pending->fd);
    pending_enter(pending, PENDING_FLYING);
    pending->began_ns = now;
    nudge_attempt_begins(pending);
    take_so_error(pending->fd);
    union sibling sibling;
    struct sockaddr *address = address_of(pending, &sibling);
    int result = is_free ? raw_connect(pending->fd, address, pending->length) : -1;
    if (result != 0 && errno == EINPROGRESS)
        return (struct call_step){.action = CALL_ATTEMPT, .until_ns = pending->call.due_ns};
    int error = result == 0 ? 0 : errno;
    return call_ended(&pending->call, outcome_of_connect(error, has_left(pending)), error, clock_now_ns());
}

/* What the attempt is made to. Port, scope and whatever else the address says stay the program's. */
static struct sockaddr *address_of(struct pending *pending, union sibling *sibling)
{
    uint32_t number = pending->call.address;
    if (number == 0 || number > pending->siblings.count)
        return &pending->address.any;
    const struct address *other = &pending->siblings.others[number - 1];
    if (number > pending->siblings_tried)
        pending->siblings_tried = number;
    memcpy(sibling, &pending->address, sizeof *sibling);
    if (sibling->any.sa_family == AF_INET)
        memcpy(&sibling->v4.sin_addr, other->bytes + 12, 4);
    else
        memcpy(&sibling->v6.sin6_addr, other->bytes, 16);
    return &sibling->any;
}

static void succeed(struct pending *pending)
{
    struct descriptor *entry = pending->entry;
    const struct guard *guard = descriptor_guard(entry);
    nudge_attempt_ended(pending);
    host_count(entry->host, HOST_CONNECTED);
    uint64_t took_ns = clock_now_ns() - pending->call.begun_ns;
    if (pending->call.attempts > 1)
        tell_about(pending, EVENT_CONNECTED_LATE, 0, took_ns, 0);
    bool is_late = pending->is_shadow && pending->shadow.connect_ns && took_ns > pending->shadow.connect_ns;
    if (is_late)
        tell_what_would_follow(pending, OUTCOME_TIMEOUT, ETIMEDOUT);
    /* Where an answer is expected, being connected proves little: a hung server's kernel still accepts. */
    bool is_decided_later = guard->has_exchanges && pending->has_breaker && !is_late;
    if (!is_decided_later)
        report(pending, is_late ? BREAKER_FAILURE : BREAKER_SUCCESS, 0);
    uint32_t set = (guard->has_exchanges ? IDLE | FIRST_EXCHANGE : 0) | (is_decided_later ? HOLDS_TICKET : 0);
    atomic_fetch_or_explicit(&entry->state, set, memory_order_relaxed);
    uint32_t state = atomic_fetch_and_explicit(&entry->state, ~CONNECTING, memory_order_release);
    int fd = pending->fd;
    if (pending->descent.kept)
        degrade_succeeded(pending);
    bool has_more = guard->has_exchanges || guard->recv_ns || guard->send_ns || state & HOLDS_PLACE ||
                    atomic_load_explicit(&entry->degraded, memory_order_relaxed);
    pending_end(pending);
    if (!has_more)
        descriptor_drop(fd, NULL); /* nothing to watch: the data path is as it was */
}

static void fail(struct pending *pending, const struct call_step *step)
{
    struct descriptor *entry = pending->entry;
    bool was_parked = pending->phase == PENDING_PARKED;
    if (was_parked) {
        unpark(pending->fd, &pending->address.any, pending->saved_hops);
        take_so_error(pending->fd);
    }
    nudge_attempt_ended(pending);
    throttle_failed(entry);
    uint64_t now = clock_now_ns();
    host_count(entry->host, HOST_FAILED);
    if (pending->is_shadow)
        tell_what_would_follow(pending, step->outcome, step->error);
    else
        tell_failure(pending, step, now);
    if (pending->has_retry)
        credits_leave(entry->host.key, &pending->call, pending->siblings.known, now);
    report(pending, call_report(step), step->error);
    struct call_step next;
    bool is_served;
    if (pending->descent.kept && !pending->is_shadow &&
        degrade_next(pending, step->error, &next, &is_served)) {
        if (is_served)
            succeed(pending);
        else
            carry_on(pending, next);
        return;
    }
    entry->due_recv_error = (int16_t)step->error;
    /* What we have taken back looks to the kernel as if it had never been connected. To the program it has failed: then
     * there is nothing more to receive. */
    bool is_ours = step->outcome == OUTCOME_TIMEOUT || was_parked;
    if (step->error)
        atomic_fetch_or_explicit(&entry->state, CONNECT_ERROR_DUE | (is_ours ? CUT_OFF : 0),
                                 memory_order_relaxed);
    atomic_fetch_and_explicit(&entry->state, ~CONNECTING, memory_order_release);
    if (!step->error) {
        pending_end(pending);
        return;
    }
    pending_enter(pending, PENDING_FAILED);
    pending_release(pending, NEVER);
}

/* Once: what would come after that would have been another call. */
static void tell_what_would_follow(struct pending *pending, enum outcome outcome, int error)
{
    uint64_t took_ns = clock_now_ns() - pending->call.begun_ns;
    if (outcome == OUTCOME_TIMEOUT && pending->shadow.connect_ns && took_ns > pending->shadow.connect_ns) {
        tell_about(pending, EVENT_TIMEOUT_CONNECT, ETIMEDOUT, pending->shadow.connect_ns, 0);
    } else if (pending->shadow.max_retries && outcome_is_failure(outcome) &&
               pending->call.params.retry_on & OUTCOME_BIT(outcome) && !pending->call.is_probe) {
        tell_about(pending, EVENT_RETRY, error, took_ns, pending->call.params.backoff.base_delay_ns);
    } else {
        return;
    }
    host_count(pending->entry->host, HOST_SHADOWED);
}

static void report(struct pending *pending, enum breaker_report what, int error)
{
    struct descriptor *entry = pending->entry;
    if (!pending->has_breaker || (pending->phase != PENDING_FLYING && pending->phase != PENDING_PARKED))
        return;
    connect_report(entry->host, descriptor_target(entry).text, &descriptor_guard(entry)->breaker,
                   pending->breaker_error, entry->ticket,
                   siblings_judge(&pending->marks, entry->host, pending->siblings_tried, what, error),
                   pending->seed, pending->is_shadow);
}

static void tell_about(struct pending *pending, enum event_kind kind, int error, uint64_t duration_ns,
                       uint64_t delay_ns)
{
    struct event event = about(pending, kind);
    event.duration_ns = duration_ns;
    event.delay_ns = delay_ns;
    event.error = error;
    tell(&event);
}

static struct event about(struct pending *pending, enum event_kind kind)
{
    const struct call_params *params = &pending->call.params;
    uint32_t retries = pending->is_shadow ? pending->shadow.max_retries : params->max_retries;
    uint64_t most = (uint64_t)(retries + 1) * (params->siblings + 1);
    struct event event = event_about(kind, descriptor_target(pending->entry).text);
    event.attempt = (uint16_t)pending->call.attempts;
    event.attempts = (uint16_t)(most < UINT16_MAX ? most : UINT16_MAX);
    event.flags = pending->is_shadow ? EVENT_SHADOW : 0;
    if (pending->siblings.known > 1) {
        union sibling sibling;
        struct target target;
        if (target_of_sockaddr(address_of(pending, &sibling), pending->length, &target))
            memcpy(event.address, target.address.bytes, sizeof event.address);
    }
    return event;
}

static void tell_failure(struct pending *pending, const struct call_step *step, uint64_t now_ns)
{
    struct event event = about(pending, EVENT_CONNECT_FAILED);
    event.duration_ns = now_ns - pending->call.begun_ns;
    event.error = step->error;
    event.count = pending->is_unparkable ? GIVEN_UP_NOT_PARKED : given_up_because(step->why);
    tell(&event);
}

/* The attempt before has failed, and the next address is tried at once. */
static void tell_sibling(struct pending *pending, uint64_t now_ns)
{
    uint32_t next = pending->call.address;
    host_count(pending->entry->host, HOST_SIBLINGS);
    pending->call.address = next - 1;
    pending->call.attempts--;
    tell_about(pending, EVENT_SIBLING, pending->call.last_error, now_ns - pending->call.begun_ns, 0);
    pending->call.address = next;
    pending->call.attempts++;
}

/* The entry's slot, claimed, to be acted on through `fd`. NULL: there is none, or the number is not the socket's any more:
 * what we do to it would be done to another. */
static struct pending *claim(int fd, struct descriptor *entry)
{
    struct pending *pending = pending_claim(entry);
    if (!pending || is_at(pending, fd))
        return pending;
    pending_release(pending, atomic_load_explicit(&pending->due_ns, memory_order_relaxed));
    return NULL;
}

/* Does the number lead to the socket of that slot? Then it is the one to act through: the one that was connected may have
 * been closed while a copy of it lives on. */
static bool is_at(struct pending *pending, int fd)
{
    struct descriptor *entry = descriptor_of(fd);
    if (!entry || entry != pending->entry || option_cookie(fd) != entry->cookie)
        return false;
    pending->fd = fd;
    return true;
}

static bool is_still_there(struct pending *pending)
{
    if (atomic_load_explicit(&pending->entry->pending, memory_order_relaxed) != pending->number + 1)
        return false;
    if (is_at(pending, pending->fd))
        return true;
    for (int fd = descriptor_next(0, ~0u); fd >= 0; fd = descriptor_next((unsigned)fd + 1, ~0u))
        if (is_at(pending, fd))
            return true;
    return false;
}

static int take_so_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;
    return real.getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : 0;
}

/* Of a call that does not wait. Once a failed attempt's error has been read, the next connect gets ECONNABORTED from the
 * kernel: that is about the attempt before. */
static enum outcome outcome_at_once(const struct pending *pending, int error)
{
    return error == ECONNABORTED ? OUTCOME_OURS : outcome_of_connect(error, has_left(pending));
}

/* Was a SYN sent at all? A host without a route fails before, and at once. The kernel has forgotten what it sent; what a
 * router said of it lies in the error queue. */
static bool has_left(const struct pending *pending)
{
    return clock_now_ns() - pending->began_ns > NS_PER_MS ||
           error_queue_drain(pending->fd, &pending->address.any) > 0;
}

static unsigned retransmits(int fd)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    return real.getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 ? info.tcpi_retransmits : 0;
}
