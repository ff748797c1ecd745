#include "drive/readiness.h"

#include <errno.h>
#include <linux/tcp.h>

#include "base/clock.h"
#include "drive/deadline.h"
#include "drive/flight.h"
#include "drive/midway.h"
#include "drive/nudge.h"
#include "drive/options.h"
#include "drive/raw.h"
#include "drive/readable.h"
#include "drive/signals.h"
#include "drive/silence.h"
#include "drive/transfer.h"
#include "drive/turn.h"
#include "drive/withhold.h"
#include "hooks/real.h"
#include "state/left_answers.h"
#include "state/pending.h"
#include "state/process.h"
#include "state/segment.h"

#define AT_ONCE_NS (10 * NS_PER_MS) /* nobody gives up that soon, and uses the number for something else */

static bool is_anothers_error(int fd, struct descriptor *entry);
static struct pending *claim(int fd, struct descriptor *entry);
static bool is_at(struct pending *pending, int fd);
static void act_through(struct pending *pending, int fd);
static bool is_still_there(struct pending *pending);
static bool is_in_flight(const struct pending *pending);
static bool is_only_timed(int fd, struct descriptor *entry);
static unsigned retransmits(int fd);
static void act(struct pending *pending, void *context);
static void forget(struct pending *pending);

bool readiness_connect_again(int fd, struct descriptor *entry, const struct sockaddr *address,
                             socklen_t length, int *result)
{
    struct target ignored;
    int error;
    if (atomic_load_explicit(&entry->state, memory_order_relaxed) & CONNECTIONLESS) {
        readiness_take_error(entry,
                             &error); /* it was about a datagram to another address, or no longer matters */
        return false;
    }
    bool is_target =
        target_of_sockaddr(address, length, &ignored) ||
        (length > sizeof address->sa_family && is_readable(address, length) && address->sa_family == AF_UNIX);
    if (!is_target) { /* it disconnects, or the kernel will say what is wrong */
        readiness_give_up(fd, entry);
        return false;
    }
    if (readiness_look(fd, entry) && !midway_wait(fd, entry, SO_SNDTIMEO)) {
        errno = errno == EAGAIN ? EALREADY : errno;
        *result = -1;
        return true;
    }
    if (is_anothers_error(fd, entry))
        return false;
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
    unsigned seen = pending && is_in_flight(pending) ? raw_poll(fd) : 0;
    if (seen)
        flight_settle(pending, seen);
    else if (pending)
        pending_put_back(pending);
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
        if (pending) {
            nudge_over(pending);
            pending_end(pending);
        }
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
    return !is_anothers_error(fd, entry) && readiness_take_error(entry, error);
}

/* Is the error due to a connection whose number has become another's, closed and used again behind our back? */
static bool is_anothers_error(int fd, struct descriptor *entry)
{
    return atomic_load_explicit(&entry->state, memory_order_acquire) & CONNECT_ERROR_DUE &&
           !transfer_is_same(entry, fd);
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
    if (is_only_timed(fd, entry))
        return;
    signals_block(&mask);
    struct pending *pending = pending_claim(entry);
    if (pending && descriptor_of(fd) != entry) {
        pending_put_back(
            pending); /* dropped meanwhile by who found it connected: it may be another connection's by now */
    } else if (pending && !is_at(pending, fd)) {
        /* Closed behind our back: what has the number now is none of ours. */
        segment_passed(PASSED_STALE);
        flight_report(pending, BREAKER_NEUTRAL, 0);
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
        int told = seen & (POLLERR | POLLHUP) ? flight_take_so_error(fd) : 0;
        enum outcome outcome = told ? outcome_of_connect(told, flight_has_left(pending)) : OUTCOME_OURS;
        if (pending->phase == PENDING_PARKED) {
            outcome = pending->turn.is_waiting ? OUTCOME_OURS : pending->call.last_outcome;
            silence_leave(pending);
            turn_leave(pending);
        } else if (!seen && retransmits(fd)) {
            outcome = OUTCOME_TIMEOUT;
        } else if (seen && !(seen & (POLLERR | POLLHUP))) {
            outcome = OUTCOME_SUCCESS;
        }
        atomic_fetch_and_explicit(&entry->state, ~CONNECTING, memory_order_acq_rel);
        bool is_failure = outcome_is_failure(outcome) && !has_winner;
        bool is_late = clock_now_ns() - pending->call.begun_ns > pending->shadow.connect_ns;
        if (pending->is_shadow && pending->shadow.connect_ns && is_late && outcome != OUTCOME_SUCCESS)
            flight_tell_what_would_follow(pending, OUTCOME_TIMEOUT, ETIMEDOUT);
        if (entry->owner == process_id()) {
            if (is_failure)
                host_count(entry->host, HOST_FAILED);
            flight_report(pending,
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

/* There is only a deadline to be forgotten, which is how connections mostly end: nothing is done to the socket, and what a
 * signal handler could see meanwhile is a slot that somebody else is about to end. */
static bool is_only_timed(int fd, struct descriptor *entry)
{
    struct pending *pending = pending_claim(entry);
    bool is_only_timed = pending && pending->phase == PENDING_ANSWER && descriptor_of(fd) == entry;
    if (is_only_timed)
        pending_end(pending);
    else if (pending)
        pending_put_back(pending);
    return is_only_timed;
}

/* Another thread may be acting through it just now. */
bool readiness_leave(int fd, struct descriptor *entry)
{
    if (atomic_load_explicit(&entry->references, memory_order_relaxed) == 1)
        return false;
    int error = errno;
    sigset_t mask;
    signals_block(&mask);
    struct pending *pending = pending_claim(entry);
    bool is_only = atomic_load_explicit(&entry->references, memory_order_relaxed) == 1;
    if (!is_only)
        descriptor_drop(fd, NULL);
    if (pending)
        pending_put_back(pending);
    signals_restore(&mask);
    errno = error;
    return !is_only;
}

void readiness_hand_over(int fd, struct descriptor *entry)
{
    int error = errno;
    sigset_t mask;
    signals_block(&mask);
    struct pending *pending = claim(fd, entry);
    int failure = 0;
    if (pending && pending->phase == PENDING_PARKED && silence_end(pending)) {
        flight_take_so_error(fd);
        union flight_address other;
        bool is_begun = raw_connect(fd, flight_address(pending, &other), pending->length) == 0;
        failure = is_begun || errno == EINPROGRESS ? 0 : errno;
    }
    if (pending) {
        silence_is_over(pending);
        nudge_attempt_ended(pending);
        turn_leave(pending);
        if (failure)
            host_count(entry->host, HOST_FAILED);
        flight_report(pending, failure ? BREAKER_FAILURE : BREAKER_NEUTRAL, failure);
        entry->due_recv_error = (int16_t)failure;
        atomic_fetch_or_explicit(&entry->state, failure ? CONNECT_ERROR_DUE : 0, memory_order_release);
        atomic_fetch_and_explicit(&entry->state, ~CONNECTING, memory_order_acq_rel);
        pending_end(pending);
    }
    signals_restore(&mask);
    errno = error;
}

void readiness_run(uint64_t now_ns, const struct waiter *waiter)
{
    pending_run(now_ns, act, (void *)waiter);
    struct pending *left;
    for (unsigned turn = 0; waiter && left_answers_are_any() && (left = left_answers_next(&turn));) {
        struct descriptor *entry = waiter->has(waiter, left->fd) ? left->entry : NULL;
        struct pending *pending = entry ? pending_claim(entry) : NULL;
        if (!pending)
            continue;
        atomic_store(&pending->left_due_ns, 0);
        act(pending, (void *)waiter);
    }
}

bool readiness_is_left_to(const struct waiter *waiter)
{
    struct pending *left;
    for (unsigned turn = 0; left_answers_are_any() && (left = left_answers_next(&turn));)
        if (waiter->has(waiter, left->fd))
            return true;
    return false;
}

static void act(struct pending *pending, void *context)
{
    uint64_t now = clock_now_ns();
    if (pending->phase == PENDING_ANSWER && deadline_of(pending) > now && !withhold_is_due(pending, now)) {
        deadline_release(pending);
        return;
    }
    if (!is_still_there(pending)) {
        forget(pending);
        return;
    }
    withhold_show_due(pending, now);
    if (pending->phase == PENDING_ANSWER) {
        deadline_due(pending, context);
        return;
    }
    if (pending->phase == PENDING_FAILED) {
        pending_release(pending, NEVER);
        return;
    }
    if (pending->phase == PENDING_PARKED && pending->turn.is_waiting) {
        turn_come(pending);
        return;
    }
    if (pending->phase == PENDING_PARKED) {
        flight_carry_on(pending, call_due(&pending->call, now));
        return;
    }
    if (pending->is_queued) {
        flight_queue_again(pending);
        return;
    }
    if (now < pending->call.due_ns) {
        pending_release(pending, pending->call.due_ns);
        return;
    }
    unsigned seen = is_in_flight(pending) ? raw_poll(pending->fd) : 0;
    if (seen) {
        flight_settle(pending, seen);
    } else if (raw_disconnect(pending->fd)) {
        flight_take_so_error(pending->fd); /* ECONNRESET: our own doing */
        flight_judge(pending, OUTCOME_TIMEOUT, ETIMEDOUT);
    } else {
        segment_passed(PASSED_CANCEL_FAILED); /* the truth, then */
        pending_release(pending, NEVER);
    }
}

/* Closed behind our back. Whatever has the number now is not guarded. */
static void forget(struct pending *pending)
{
    struct descriptor *entry = pending->entry;
    int fd = pending->fd;
    flight_report(pending, BREAKER_NEUTRAL, 0);
    pending_end(pending);
    if (!entry || descriptor_of(fd) != entry || transfer_is_same(entry, fd))
        segment_passed(PASSED_STALE); /* the number is another's already; else it is let go of, and counted */
}

unsigned readiness_sift(int fd, struct descriptor *entry, unsigned seen, unsigned asked)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_acquire);
    unsigned withheld = withheld_of(entry);
    /* What is to be hidden, or shown, is that connection's: a number that was closed behind our back may be a pipe's. */
    if ((withheld || state & CONNECT_ERROR_DUE) && !transfer_is_same(entry, fd))
        return seen;
    if (seen && !(seen & ~withheld))
        return 0;
    if (state & CONNECTING && !(seen & (POLLERR | POLLHUP)) && process_is_alone() &&
        readiness_is_up(fd, entry))
        return seen & ~withheld_of(entry);
    struct pending *pending = state & CONNECTING ? claim(fd, entry) : NULL;
    if (pending) {
        /* What was seen may be over: another thread has begun the next attempt meanwhile. */
        unsigned now = raw_poll(fd);
        if (pending->phase == PENDING_PARKED && now && !pending->is_withheld) {
            /* Something has ended the silence: a timeout that the program set, say. */
            silence_end(pending);
            if (!silence_begin(pending)) {
                pending->is_unparkable = true;
                pending_enter(pending, PENDING_FLYING);
                struct call_step step = call_denied(&pending->call);
                flight_fail(pending, &step);
                pending = NULL;
            }
        } else if (is_in_flight(pending) && now) {
            flight_settle(pending, now);
            pending = NULL;
        }
        if (pending)
            pending_put_back(pending);
        state = atomic_load_explicit(&entry->state, memory_order_acquire);
        if (state & CONNECTING)
            return 0;
        seen = raw_poll(fd) & (asked | POLLERR | POLLHUP);
    } else if (state & CONNECTING) {
        /* Another thread has ended it just now, and what was seen with it. */
        state = atomic_load_explicit(&entry->state, memory_order_acquire);
        seen = raw_poll(fd) & (asked | POLLERR | POLLHUP);
    }
    if (!(state & CONNECT_ERROR_DUE))
        return seen & ~withheld_of(entry);
    if (state & CONNECTIONLESS)
        return (seen & asked) | POLLERR | (asked & (POLLIN | POLLOUT));
    /* As the kernel shows a failure; one of ours it takes for a descriptor that was never connected. */
    return seen | POLLERR | POLLHUP | (asked & (POLLIN | POLLOUT | POLLRDHUP));
}

/* Nobody can have begun another attempt since, and nothing is done to the socket, so neither it nor its number is asked for once
 * more; unless it has taken so long that the program may have given it up and closed it behind our back. */
bool readiness_is_up(int fd, struct descriptor *entry)
{
    struct pending *pending = entry->ticket.is_probe ? NULL : pending_claim(entry);
    if (!pending)
        return false;
    act_through(pending, fd);
    bool is_up = is_in_flight(pending) && clock_coarse_ns() < pending->began_ns + AT_ONCE_NS;
    if (is_up)
        flight_succeed(pending);
    else
        pending_put_back(pending);
    return is_up;
}

/* The entry's slot, claimed, to be acted on through `fd`. NULL: there is none, or the number is not the socket's any more:
 * what we do to it would be done to another. */
static struct pending *claim(int fd, struct descriptor *entry)
{
    struct pending *pending = pending_claim(entry);
    if (!pending || is_at(pending, fd))
        return pending;
    pending_put_back(pending);
    return NULL;
}

/* Does the number lead to the socket of that slot? Then it is the one to act through: the one that was connected may have
 * been closed while a copy of it lives on. */
static bool is_at(struct pending *pending, int fd)
{
    struct descriptor *entry = descriptor_of(fd);
    if (!entry || entry != pending->entry || option_cookie(fd) != entry->cookie)
        return false;
    act_through(pending, fd);
    return true;
}

/* Mostly it is that number already. */
static void act_through(struct pending *pending, int fd)
{
    if (pending->fd != fd)
        pending->fd = fd;
}

static bool is_still_there(struct pending *pending)
{
    if (atomic_load_explicit(&pending->entry->pending, memory_order_relaxed) != pending->number + 1)
        return false;
    if (is_at(pending, pending->fd))
        return true;
    for (int fd = -1; (fd = descriptor_next_of(pending->entry, (unsigned)fd + 1)) >= 0;)
        if (is_at(pending, fd))
            return true;
    return false;
}

/* An attempt, of which something may be seen. */
static bool is_in_flight(const struct pending *pending)
{
    return pending->phase == PENDING_FLYING && !withheld_of_slot(pending);
}

static unsigned retransmits(int fd)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    return real.getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 ? info.tcpi_retransmits : 0;
}
