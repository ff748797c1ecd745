#include "drive/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "base/clock.h"
#include "drive/deadline.h"
#include "drive/exchange.h"
#include "drive/handshake.h"
#include "drive/late.h"
#include "drive/midway.h"
#include "drive/options.h"
#include "drive/perform.h"
#include "drive/readiness.h"
#include "drive/signals.h"
#include "drive/stand_in.h"
#include "drive/withhold.h"
#include "hooks/real.h"
#include "policy/call.h"

/* A kernel timeout comes late by up to a tick or two, never early; a deadline this near counts as reached. */
#define SLACK_NS (2 * NS_PER_MS)

enum direction { RECEIVING, SENDING };

/* How it was when the program made the call. */
struct start {
    uint64_t began_ns; /* 0 = not known */
    int error;         /* errno; 0 where it was not kept: the common path has no time for it */
    bool was_awaiting; /* the answer was awaited already; else whatever is awaited was sent meanwhile */
};

/* The deadlines of one wait: whoever set it, the shorter one ends it. */
struct limits {
    uint64_t began_ns;
    uint64_t rule_ns, own_ns; /* points in time; NEVER = none */
    bool for_answer;          /* an answer was awaited when these were made */
    enum event_kind kind;     /* which of the rule's timeouts it is */
    uint64_t window_ns;
};

/* States that are told instead of asking the kernel: they must be the very socket's. */
#define IS_TOLD (SEND_ERROR_DUE | RECV_ERROR_DUE | NOT_AS_USUAL)

enum as_usual { AS_USUAL, IS_ANOTHERS, ERROR_TAKEN, IS_CUT_OFF, STANDS_IN };
static enum as_usual what_is_told(struct descriptor *entry, const struct transfer *transfer,
                                  enum direction direction);
static ssize_t send_to_stand_in(struct descriptor *entry, const struct transfer *transfer, int error);
static ssize_t receive_from_stand_in(struct descriptor *entry, const struct transfer *transfer, int error);
static void time_send(struct descriptor *entry, const struct transfer *transfer, ssize_t result,
                      uint64_t began_ns);
static ssize_t go_on(struct descriptor *entry, const struct transfer *transfer, enum direction direction,
                     ssize_t result, const struct start *start);
static enum waited wait_within(struct descriptor *entry, const struct transfer *transfer,
                               enum direction direction, struct limits *limits, const sigset_t *mask);
static bool is_awaiting(const struct descriptor *entry);
static bool may_wait(struct descriptor *entry, const struct transfer *transfer);
static bool is_same(struct descriptor *entry, const struct transfer *transfer);
static struct limits limits_of(const struct descriptor *entry, enum direction direction, uint64_t began_ns,
                               uint64_t sent_ns);
static uint64_t tick_ns(const struct descriptor *entry, enum direction direction);
static void tell_timeout(struct descriptor *entry, const struct limits *limits);
static bool take_due_error(struct descriptor *entry, uint32_t bit, int16_t *due);

static inline enum as_usual as_usual(struct descriptor *entry, const struct transfer *transfer,
                                     enum direction direction)
{
    bool is_told = atomic_load_explicit(&entry->state, memory_order_acquire) & IS_TOLD;
    return __builtin_expect(is_told, 0) ? what_is_told(entry, transfer, direction) : AS_USUAL;
}

ssize_t transfer_receive(struct descriptor *entry, const struct transfer *transfer, ssize_t result,
                         uint64_t began_ns)
{
    struct start start = {.began_ns = began_ns};
    if (result == NOT_YET) {
        start.error = errno;
        start.was_awaiting = is_awaiting(entry);
        switch (as_usual(entry, transfer, RECEIVING)) {
        case IS_ANOTHERS:
            return perform(transfer);
        case ERROR_TAKEN:
            return -1;
        case IS_CUT_OFF:
            errno = start.error;
            return 0;
        case STANDS_IN:
            return receive_from_stand_in(entry, transfer, start.error);
        case AS_USUAL:
            break;
        }
        if (atomic_load_explicit(&entry->state, memory_order_relaxed) & WAITS_ARE_TIMED)
            began_ns = clock_now_ns();
        result = perform(transfer);
    }
    if (entry->cookie != transfer->cookie)
        return result; /* another thread has closed it meanwhile, and it was used again */
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    if (state & WAITS_ARE_TIMED)
        late_received(entry, transfer, start.was_awaiting, began_ns);
    bool never_waits = transfer->flags & (MSG_OOB | MSG_ERRQUEUE); /* EAGAIN is its own answer */
    bool is_partial = result > 0 && transfer->flags & MSG_WAITALL && !(transfer->flags & MSG_PEEK) &&
                      !(state & MESSAGES) && (size_t)result < perform_size(transfer);
    if (!never_waits && (is_partial || (result < 0 && (errno == EAGAIN || errno == EINTR))))
        result = go_on(entry, transfer, RECEIVING, result, &start);
    if (result > 0 || (result == 0 && state & CONNECTIONLESS))
        exchange_answered(entry, transfer, result);
    else if (!(transfer->flags & MSG_ERRQUEUE) &&    /* a notice of the kernel's may have no data */
             (result < 0 || perform_size(transfer))) /* 0 bytes of 0 are not the end */
        exchange_broken(entry, transfer->fd, result == 0 ? 0 : errno);
    return result;
}

ssize_t transfer_send(struct descriptor *entry, const struct transfer *transfer, ssize_t result,
                      uint64_t began_ns)
{
    struct start start = {.began_ns = began_ns};
    if (result == NOT_YET) {
        start.error = errno;
        switch (as_usual(entry, transfer, SENDING)) {
        case IS_ANOTHERS:
            return perform(transfer);
        case ERROR_TAKEN:
            return -1;
        case STANDS_IN:
            return send_to_stand_in(entry, transfer, start.error);
        case IS_CUT_OFF:
        case AS_USUAL:
            break;
        }
        enum admitted admitted = exchange_admit(entry, transfer->fd, began_ns);
        if (admitted != ADMITTED)
            return admitted == NOT_ADMITTED ? -1 : perform(transfer);
    }
    if (handshake_is_open(atomic_load_explicit(&entry->state, memory_order_relaxed)) &&
        !handshake_may_go_on(entry, perform_size(transfer)))
        exchange_settle(entry);
    /* A large request may take longer to send than its answer may take to come: that time begins when it is sent. */
    bool is_begun = transfer->is_begun || (transfer->size < LARGE_BYTES && exchange_begin(entry, began_ns));
    if (result == NOT_YET)
        result = perform(transfer);
    if (entry->cookie != transfer->cookie)
        return result;
    bool is_partial = result > 0 && (size_t)result < perform_size(transfer);
    if (is_partial || (result < 0 && (errno == EAGAIN || errno == EINTR)))
        result = go_on(entry, transfer, SENDING, result, &start);
    if (result > 0)
        exchange_begin(entry, began_ns);
    else if (result < 0)
        exchange_broken(entry, transfer->fd, errno);
    bool is_nothing = result == 0 && !(atomic_load_explicit(&entry->state, memory_order_relaxed) & MESSAGES);
    if (is_begun && (result < 0 || is_nothing ||
                     (result > 0 && handshake_is_unanswered(entry, transfer, (size_t)result))))
        exchange_undo(entry);
    time_send(entry, transfer, result, began_ns);
    if (result > 0 && handshake_concerns(entry))
        handshake_sent(entry, transfer, (size_t)result, is_begun);
    if (atomic_load_explicit(&entry->state, memory_order_relaxed) & WAITS_ARE_TIMED)
        late_sent(entry, result, began_ns);
    return result;
}

/* In event loops nobody waits inside the call: the deadlines are kept for the program's waits. */
static void time_send(struct descriptor *entry, const struct transfer *transfer, ssize_t result,
                      uint64_t began_ns)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    bool is_watched = state & NON_BLOCKING || __atomic_load_n(&waits_seen, __ATOMIC_RELAXED);
    if (!is_watched || (result < 0 && errno != EAGAIN))
        return;
    int error = errno;
    /* A call that may wait may have waited for long: the answer's time begins when it is over. */
    bool may_have_waited = !began_ns || !(state & NON_BLOCKING);
    if (result > 0 && state & AWAITING_ANSWER)
        deadline_answer(entry, transfer->fd, may_have_waited ? clock_now_ns() : began_ns);
    if (result > 0)
        deadline_sent(entry);
    /* Who got less accepted than it gave knows that there is no room, and does not ask again to hear EAGAIN. */
    bool is_whole = result >= 0 && (size_t)result >= perform_size(transfer);
    if (!is_whole && descriptor_guard(entry)->send_ns && state & NON_BLOCKING)
        deadline_room(entry, transfer->fd);
    errno = error;
}

/* What a descriptor is to the program that is not connected yet, or not any more. Whoever reads a file must not be told of a
 * connection that had its number and was closed behind our back. */
static __attribute__((noinline)) enum as_usual
what_is_told(struct descriptor *entry, const struct transfer *transfer, enum direction direction)
{
    if (!is_same(entry, transfer))
        return IS_ANOTHERS;
    if (direction == RECEIVING ? take_due_error(entry, RECV_ERROR_DUE, &entry->due_recv_error)
                               : take_due_error(entry, SEND_ERROR_DUE, &entry->due_send_error))
        return ERROR_TAKEN;
    int error = 0;
    bool is_connecting = atomic_load_explicit(&entry->state, memory_order_acquire) & CONNECTING &&
                         readiness_look(transfer->fd, entry);
    bool never_waits = perform_is_dontwait(transfer) || transfer->flags & (MSG_OOB | MSG_ERRQUEUE);
    if (is_connecting && !never_waits &&
        !(atomic_load_explicit(&entry->state, memory_order_relaxed) & NON_BLOCKING)) {
        if (!midway_wait(transfer->fd, entry, direction == RECEIVING ? SO_RCVTIMEO : SO_SNDTIMEO))
            return ERROR_TAKEN;
        is_connecting = false;
    }
    if (is_connecting && withheld_of(entry)) {
        errno = EAGAIN; /* the kernel takes it for one that was never connected */
        return ERROR_TAKEN;
    }
    if (readiness_take_error(entry, &error)) {
        errno = error;
        return ERROR_TAKEN;
    }
    if (!(atomic_load_explicit(&entry->state, memory_order_acquire) & CUT_OFF))
        return AS_USUAL;
    return stand_in_of(entry) ? STANDS_IN : IS_CUT_OFF;
}

static ssize_t send_to_stand_in(struct descriptor *entry, const struct transfer *transfer, int error)
{
    struct degraded *record = stand_in_of(entry);
    errno = error;
    return record ? stand_in_send(record, transfer, error) : perform(transfer);
}

static ssize_t receive_from_stand_in(struct descriptor *entry, const struct transfer *transfer, int error)
{
    struct degraded *record = stand_in_of(entry);
    errno = error;
    return record ? stand_in_receive(record, transfer, error) : perform(transfer);
}

/* The real call came back early: our option's tick was over, a signal came, or both are hidden in a partial count.
 * Goes on as the kernel would have without our option, until a deadline or a signal that does not restart. */
static ssize_t go_on(struct descriptor *entry, const struct transfer *transfer, enum direction direction,
                     ssize_t result, const struct start *start)
{
    int error = result < 0 ? errno : 0;
    ssize_t done = result > 0 ? result : 0;
    uint64_t tick = tick_ns(entry, direction);
    if (!tick || (done && transfer->flags & MSG_ZEROCOPY) || !may_wait(entry, transfer))
        goto as_it_is; /* the program counts its calls with MSG_ZEROCOPY by what the kernel reports of each */
    uint64_t now = clock_now_ns();
    bool is_signal = result < 0 ? error == EINTR : start->began_ns && now - start->began_ns + SLACK_NS < tick;
    /* With a timeout of its own the program would have had EINTR anyway. A partial count may have either reason; with
     * a handler that does not restart it is left as it is. */
    uint64_t own_ns = direction == RECEIVING ? entry->own_recv_ns : entry->own_send_ns;
    if ((is_signal || (done && !start->began_ns)) && (own_ns || !signals_all_restart()))
        goto as_it_is;
    if (done && (is_signal || (own_ns && own_ns <= tick)))
        goto as_it_is; /* after a signal the kernel returns what is done, whether the handler restarts calls or not */

    if (direction == RECEIVING &&
        handshake_is_open(atomic_load_explicit(&entry->state, memory_order_relaxed)))
        exchange_settle(entry);
    uint64_t began = done || is_signal ? now : now - tick;
    struct limits limits = limits_of(entry, direction, began, start->was_awaiting ? began : now);
    sigset_t mask;
    signals_block(&mask);
    for (;;) {
        enum waited waited = wait_within(entry, transfer, direction, &limits, &mask);
        if (waited == WAITED_INTERRUPTED) {
            error = EINTR;
            break;
        }
        if (waited == WAITED_OUT) {
            error = limits.own_ns <= limits.rule_ns ? EAGAIN : ETIMEDOUT;
            if (error == ETIMEDOUT)
                tell_timeout(entry, &limits);
            break;
        }
        struct rest rest;
        if (!perform_rest(transfer, (size_t)done, &rest))
            break;
        if (!is_same(entry, transfer)) {
            error = EBADF;
            break;
        }
        /* After a part the kernel says EPIPE with the next call, and only that one raises SIGPIPE. */
        if (done && direction == SENDING)
            rest.transfer.flags |= MSG_NOSIGNAL;
        bool may_wait_inside = perform_may_wait(transfer) || waited == WAITED_ERROR;
        if (waited == WAITED_ERROR) /* not one that this call takes, if it is still there afterwards */
            rest.transfer.flags &= ~MSG_DONTWAIT;
        if (may_wait_inside)
            signals_restore(&mask);
        ssize_t more = perform(&rest.transfer);
        error = errno;
        if (may_wait_inside)
            signals_block(&mask);
        if (more < 0 && error == EINTR && may_wait_inside && !signals_all_restart())
            break;
        if (more < 0 && (error == EAGAIN || error == EINTR))
            continue; /* somebody else was quicker */
        if (more > 0)
            done += more;
        error = more < 0 ? error : 0;
        bool wants_more =
            more > 0 && (size_t)done < perform_size(transfer) &&
            (direction == SENDING || (transfer->flags & (MSG_WAITALL | MSG_PEEK)) == MSG_WAITALL);
        if (!wants_more)
            break;
        now = clock_now_ns();
        limits = limits_of(entry, direction, now, now); /* progress: a new wait begins */
    }
    signals_restore(&mask);
    if (done && error && error != EINTR && error != EAGAIN && error != EPIPE && error != EBADF) {
        /* The count first, the error with the next call: as the kernel does. */
        uint32_t bit = direction == RECEIVING ? RECV_ERROR_DUE : SEND_ERROR_DUE;
        *(direction == RECEIVING ? &entry->due_recv_error : &entry->due_send_error) = (int16_t)error;
        atomic_fetch_or_explicit(&entry->state, bit, memory_order_release);
    }
    if (done || !error) {
        errno = start->error;
        return done;
    }
    errno = error;
    return -1;

as_it_is:
    if (result < 0)
        errno = error;
    return result;
}

/* Waits until there is something to do or a limit is reached. Another thread may send a request while this one waits
 * for data; nothing wakes us then, so we look from time to time whether an answer has come to be awaited. */
static enum waited wait_within(struct descriptor *entry, const struct transfer *transfer,
                               enum direction direction, struct limits *limits, const sigset_t *mask)
{
    short events = direction == RECEIVING ? POLLIN | POLLRDHUP : POLLOUT;
    uint64_t look_ns = direction == RECEIVING ? descriptor_guard(entry)->response_ns : 0;
    for (;;) {
        uint64_t now = clock_now_ns();
        uint64_t until = limits->rule_ns < limits->own_ns ? limits->rule_ns : limits->own_ns;
        if (until != NEVER && now + SLACK_NS >= until)
            return WAITED_OUT;
        bool is_look = look_ns && !limits->for_answer && now + look_ns < until;
        enum waited waited = signals_wait(transfer->fd, events, is_look ? now + look_ns : until, mask);
        if (waited != WAITED_OUT || !is_look)
            return waited;
        *limits = limits_of(entry, direction, limits->began_ns, clock_now_ns());
    }
}

static bool is_awaiting(const struct descriptor *entry)
{
    return atomic_load_explicit(&entry->state, memory_order_relaxed) & AWAITING_ANSWER;
}

/* Only a blocking call on the very socket that we put the timeout on is ours to carry on. */
static bool may_wait(struct descriptor *entry, const struct transfer *transfer)
{
    /* EAGAIN may be that of a pipe which does not block; that is the program's affair. */
    bool is_splice = transfer->call == TRANSFER_SPLICE_IN || transfer->call == TRANSFER_SPLICE_OUT;
    int other = is_splice ? real.fcntl(transfer->other, F_GETFL, 0) : 0;
    if (other < 0 || other & O_NONBLOCK)
        return false;
    if (perform_is_dontwait(transfer) ||
        atomic_load_explicit(&entry->state, memory_order_relaxed) & (NON_BLOCKING | HANDED_OVER))
        return false;
    int flags = real.fcntl(transfer->fd, F_GETFL, 0);
    if (flags < 0)
        return false; /* closed meanwhile: the entry may be another connection's by now */
    if (flags & O_NONBLOCK) {
        if (is_same(entry, transfer))
            transfer_made_blocking(entry, transfer->fd, false);
        return false;
    }
    return is_same(entry, transfer);
}

static bool is_same(struct descriptor *entry, const struct transfer *transfer)
{
    return entry->cookie == transfer->cookie && transfer_is_same(entry, transfer->fd);
}

/* `began_ns` is when the wait began, `sent_ns` since when an answer has been awaited, if one is. */
static struct limits limits_of(const struct descriptor *entry, enum direction direction, uint64_t began_ns,
                               uint64_t sent_ns)
{
    const struct guard *guard = descriptor_guard(entry);
    struct limits limits = {.began_ns = began_ns, .rule_ns = NEVER, .own_ns = NEVER};
    uint64_t own_ns = direction == RECEIVING ? entry->own_recv_ns : entry->own_send_ns;
    if (!(atomic_load_explicit(&entry->state, memory_order_relaxed) & INHERITED))
        limits.window_ns = direction == RECEIVING ? guard->recv_ns : guard->send_ns;
    limits.kind = direction == RECEIVING ? EVENT_TIMEOUT_RECV : EVENT_TIMEOUT_SEND;
    if (limits.window_ns)
        limits.rule_ns = began_ns + limits.window_ns;
    if (own_ns)
        limits.own_ns = began_ns + own_ns;
    limits.for_answer = direction == RECEIVING && guard->response_ns && is_awaiting(entry);
    if (limits.for_answer && sent_ns + guard->response_ns <= limits.rule_ns) {
        limits.window_ns = guard->response_ns;
        limits.kind = EVENT_TIMEOUT_RESPONSE;
        limits.rule_ns = sent_ns + guard->response_ns;
    }
    return limits;
}

bool transfer_wait(struct descriptor *entry, const struct transfer *transfer, bool is_sending, short events,
                   uint64_t due_ns, uint64_t began_ns)
{
    int before = errno;
    struct limits limits = limits_of(entry, is_sending ? SENDING : RECEIVING, began_ns, began_ns);
    uint64_t end_ns = limits.rule_ns < limits.own_ns ? limits.rule_ns : limits.own_ns;
    sigset_t mask;
    signals_block(&mask);
    enum waited waited =
        signals_wait(events ? transfer->fd : -1, events, due_ns < end_ns ? due_ns : end_ns, &mask);
    signals_restore(&mask);
    errno = before;
    if (waited == WAITED_INTERRUPTED) {
        errno = EINTR;
        return false;
    }
    /* Closed meanwhile: the number may be another connection's by now. */
    bool is_doubtful = descriptor_of(transfer->fd) != entry || entry->cookie != transfer->cookie;
    if (is_doubtful && option_cookie(transfer->fd) != transfer->cookie) {
        errno = EBADF;
        return false;
    }
    errno = before;
    if (waited != WAITED_OUT || due_ns <= end_ns)
        return true;
    if (limits.own_ns <= limits.rule_ns) {
        errno = EAGAIN;
        return false;
    }
    tell_timeout(entry, &limits);
    exchange_broken(entry, transfer->fd, ETIMEDOUT);
    errno = ETIMEDOUT;
    return false;
}

/* What the kernel was told: the smallest timeout that may be in force. */
static uint64_t tick_ns(const struct descriptor *entry, enum direction direction)
{
    const struct guard *guard = descriptor_guard(entry);
    return direction == RECEIVING ? shorter(entry->own_recv_ns, shorter(guard->recv_ns, guard->response_ns))
                                  : shorter(entry->own_send_ns, guard->send_ns);
}

static void tell_timeout(struct descriptor *entry, const struct limits *limits)
{
    host_count(entry->host, HOST_TIMEOUTS);
    struct event event = event_about(limits->kind, descriptor_target(entry).text);
    event.duration_ns = limits->window_ns;
    event.error = ETIMEDOUT;
    tell(&event);
}

static bool take_due_error(struct descriptor *entry, uint32_t bit, int16_t *due)
{
    if (!(atomic_load_explicit(&entry->state, memory_order_acquire) & bit))
        return false;
    if (!(atomic_fetch_and_explicit(&entry->state, ~bit, memory_order_acq_rel) & bit))
        return false; /* another thread took it */
    errno = *due;
    return true;
}
