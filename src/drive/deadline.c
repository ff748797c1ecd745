#include "drive/deadline.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "drive/exchange.h"
#include "drive/handshake.h"
#include "drive/nudge.h"
#include "drive/raw.h"
#include "drive/tell.h"
#include "drive/withhold.h"
#include "hooks/real.h"
#include "state/left_answers.h"
#include "state/process.h"
#include "state/segment.h"

#define LOOKS_PER_WINDOW 4 /* at what is unsent */

uint32_t waits_seen;

static struct pending *timed_slot(struct descriptor *entry);
static unsigned seen_of(const struct pending *pending);
static uint64_t earlier(uint64_t a, uint64_t b);
static uint32_t unsent_bytes(int fd);
static bool is_unanswered(struct pending *pending, const struct waiter *waiter, uint64_t now_ns);
static bool has_no_room(struct pending *pending, uint64_t now_ns);
static void cut_off(struct pending *pending, enum event_kind kind, uint64_t window_ns);
static bool end_connection(struct pending *pending);
static bool show_overdue(struct pending *pending);

/* Each of several threads that wait for the first time at once: none may go to sleep before its own request is timed. */
void deadline_catch_up(void)
{
    __atomic_exchange_n(&waits_seen, WAITS_SEEN, __ATOMIC_SEQ_CST);
    for (int fd = descriptor_next(0, ~0u); fd >= 0; fd = descriptor_next((unsigned)fd + 1, ~0u)) {
        struct descriptor *entry = descriptor_of(fd);
        if (entry && atomic_load_explicit(&entry->state, memory_order_relaxed) & AWAITING_ANSWER)
            deadline_answer(entry, fd, clock_now_ns());
    }
    __atomic_store_n(&waits_seen, WAITS_CAUGHT_UP, __ATOMIC_RELEASE);
}

void deadline_answer(struct descriptor *entry, int fd, uint64_t now_ns)
{
    struct pending *pending = descriptor_guard(entry)->response_ns ? deadline_slot(entry, fd) : NULL;
    if (!pending)
        return;
    uint64_t due_ns = now_ns + descriptor_guard(entry)->response_ns;
    atomic_store_explicit(&pending->answer_due_ns, due_ns, memory_order_relaxed);
    if (!process_is_alone())
        atomic_thread_fence(memory_order_seq_cst);
    /* Mostly it is: for an earlier answer, which has come. */
    if (pending_is_due_by(pending, due_ns))
        return;
    /* After a pause of that length the number may be another's, closed and used again behind our back. */
    bool is_first = atomic_load_explicit(&entry->state, memory_order_relaxed) & FIRST_EXCHANGE;
    if (!is_first && !transfer_is_same(entry, fd))
        return;
    bool is_nearest = due_ns < pending_nearest(now_ns);
    pending_due(pending, entry, deadline_of(pending));
    if (is_nearest)
        nudge_waiter(pending, fd);
    if (!(atomic_load_explicit(&entry->state, memory_order_relaxed) & TIMED))
        atomic_fetch_or_explicit(&entry->state, TIMED, memory_order_release);
}

void deadline_room(struct descriptor *entry, int fd)
{
    struct pending *pending = descriptor_of(fd) == entry ? deadline_slot(entry, fd) : NULL;
    if (!pending || pending->room_due_ns != NEVER)
        return;
    pending->unsent_bytes = unsent_bytes(fd);
    pending->room_due_ns = clock_now_ns() + descriptor_guard(entry)->send_ns;
    pending_due(pending, entry, deadline_of(pending));
    atomic_fetch_or_explicit(&entry->state, TIMED, memory_order_release);
}

void deadline_sent(struct descriptor *entry)
{
    struct pending *pending = timed_slot(entry);
    if (!pending || pending->room_due_ns == NEVER)
        return;
    pending->room_due_ns = NEVER;
}

void deadline_over(struct descriptor *entry)
{
    struct pending *pending = timed_slot(entry);
    if (pending)
        atomic_store_explicit(&pending->answer_due_ns, NEVER, memory_order_relaxed);
}

unsigned deadline_overdue(int fd, unsigned asked)
{
    struct descriptor *entry = descriptor_of(fd);
    const struct pending *pending = entry ? pending_of(entry) : NULL;
    bool is_overdue = pending && atomic_load_explicit(&pending->is_overdue, memory_order_relaxed) &&
                      atomic_load_explicit(&entry->state, memory_order_relaxed) & CONNECT_ERROR_DUE &&
                      transfer_is_same(entry, fd);
    return is_overdue ? POLLERR | (asked & (POLLIN | POLLOUT)) : 0;
}

struct pending *deadline_slot(struct descriptor *entry, int fd)
{
    struct pending *pending = pending_of(entry);
    if (pending || !process_owns_memory())
        return pending && pending->phase == PENDING_ANSWER ? pending : NULL;
    pending = pending_take(entry);
    if (!pending) {
        segment_passed(PASSED_NO_MEMORY);
        return NULL;
    }
    pending->fd = fd;
    if (!pending_publish(pending, PENDING_ANSWER))
        return timed_slot(entry);
    pending_release(pending, NEVER);
    return pending;
}

uint64_t deadline_of(const struct pending *pending)
{
    return earlier(left_answers_have(pending) ? NEVER : pending->answer_due_ns, pending->room_due_ns);
}

void deadline_due(struct pending *pending, const struct waiter *waiter)
{
    struct descriptor *entry = pending->entry;
    uint64_t now = clock_now_ns();
    if (is_unanswered(pending, waiter, now)) {
        cut_off(pending, EVENT_TIMEOUT_RESPONSE, descriptor_guard(entry)->response_ns);
    } else if (has_no_room(pending, now)) {
        cut_off(pending, EVENT_TIMEOUT_SEND, descriptor_guard(entry)->send_ns);
    }
    deadline_release(pending);
}

/* A sender in another thread may have moved the deadline and the slot's time meanwhile, in this order; we have read and
 * written them in the other one, and look again. */
void deadline_release(struct pending *pending)
{
    struct descriptor *entry = pending->entry;
    uint64_t due_ns = deadline_of(pending);
    pending_release(pending, due_ns);
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t moved_ns = deadline_of(pending);
    if (moved_ns < due_ns)
        pending_due(pending, entry, moved_ns);
}

static bool is_unanswered(struct pending *pending, const struct waiter *waiter, uint64_t now_ns)
{
    struct descriptor *entry = pending->entry;
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_acquire);
    uint64_t due_ns = pending->answer_due_ns;
    if (due_ns > now_ns)
        return false;
    if (!(state & AWAITING_ANSWER) || state & ANSWER_OVERDUE) {
        /* Unless a sender has just set the next one's. */
        atomic_compare_exchange_strong(&pending->answer_due_ns, &due_ns, NEVER);
        return false;
    }
    if (handshake_is_unanswerable(pending)) {
        pending->answer_due_ns = NEVER;
        exchange_undo(entry);
        return false;
    }
    if (handshake_is_open(state) && handshake_is_in_doubt(entry)) {
        exchange_settle(entry);
        state = atomic_load_explicit(&entry->state, memory_order_acquire);
        if (!(state & AWAITING_ANSWER)) {
            atomic_compare_exchange_strong(&pending->answer_due_ns, &due_ns, NEVER);
            return false;
        }
    }
    /* A thread may wait for it inside a call that ends it by itself, unless this wait is about it. */
    bool is_ours = state & NON_BLOCKING || (waiter && waiter->has(waiter, pending->fd));
    uint64_t response_ns = descriptor_guard(entry)->response_ns;
    if (!is_ours) {
        if (!left_answers_add(pending)) {
            segment_passed(PASSED_ASLEEP);
            pending->answer_due_ns = now_ns + response_ns;
        }
        return false;
    }
    /* The time begins when the last of it is sent. When that was is not known, only that it was not so at the last look. */
    bool is_unsent = unsent_bytes(pending->fd) != 0;
    if (atomic_exchange(&pending->was_unsent, is_unsent) || is_unsent) {
        pending->answer_due_ns = now_ns + (is_unsent ? response_ns / LOOKS_PER_WINDOW : response_ns);
        return false;
    }
    if (seen_of(pending) & (POLLIN | POLLRDHUP | POLLERR | POLLHUP)) {
        pending->answer_due_ns = NEVER; /* it has come, and the program has not looked yet */
        return false;
    }
    /* The beginning of what may be one has come. */
    if (handshake_is_open(state) && handshake_is_midway(pending)) {
        pending->answer_due_ns = now_ns + response_ns;
        return false;
    }
    return true;
}

static bool has_no_room(struct pending *pending, uint64_t now_ns)
{
    if (pending->room_due_ns > now_ns)
        return false;
    uint32_t unsent = unsent_bytes(pending->fd);
    if (seen_of(pending) & (POLLOUT | POLLERR | POLLHUP)) {
        pending->room_due_ns = NEVER; /* there is room, and the program has nothing to send */
        return false;
    }
    if (unsent != pending->unsent_bytes) { /* the peer takes it, if slowly */
        pending->unsent_bytes = unsent;
        pending->room_due_ns = now_ns + descriptor_guard(pending->entry)->send_ns;
        return false;
    }
    return true;
}

/* The kernel ends the connection with a reset and wakes every waiter. Not by a shutdown: a reader that we do not see would
 * take that for a clean end. */
static void cut_off(struct pending *pending, enum event_kind kind, uint64_t window_ns)
{
    struct descriptor *entry = pending->entry;
    pending->answer_due_ns = pending->room_due_ns = NEVER;
    entry->due_recv_error = ETIMEDOUT;
    /* Another thread may have read the answer just now. */
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_acquire);
    uint32_t ending = state & CONNECTIONLESS ? CONNECT_ERROR_DUE : CONNECT_ERROR_DUE | CUT_OFF;
    do {
        if (kind == EVENT_TIMEOUT_RESPONSE && !(state & AWAITING_ANSWER))
            return;
    } while (!atomic_compare_exchange_weak_explicit(&entry->state, &state, state | ending,
                                                    memory_order_acq_rel, memory_order_acquire));
    if (!(state & CONNECTIONLESS ? show_overdue(pending) : end_connection(pending))) {
        segment_passed(PASSED_CANCEL_FAILED); /* a UNIX socket, say */
        atomic_fetch_and_explicit(&entry->state, ~ending, memory_order_acq_rel);
        return;
    }
    host_count(entry->host, HOST_TIMEOUTS);
    struct event event = event_about(kind, descriptor_target(entry).text);
    event.duration_ns = window_ns;
    event.error = ETIMEDOUT;
    tell(&event);
    if (kind == EVENT_TIMEOUT_RESPONSE)
        exchange_broken(entry, pending->fd, ETIMEDOUT);
    if (kind == EVENT_TIMEOUT_RESPONSE && state & CONNECTIONLESS)
        exchange_undo(entry); /* the next datagram is another request */
}

static bool end_connection(struct pending *pending)
{
    if (!raw_disconnect(pending->fd))
        return false;
    pending_enter(pending, PENDING_FAILED);
    withhold_show(pending, WITHHOLD_ALL);
    int reset;
    socklen_t length = sizeof reset;
    real.getsockopt(pending->fd, SOL_SOCKET, SO_ERROR, &reset, &length);
    return true;
}

/* There is no connection to be ended, and a socket that is disconnected would lose more than its peer. The kernel does not know
 * of it: the program's waits show it, and who sleeps in an epoll is woken. */
static bool show_overdue(struct pending *pending)
{
    pending_enter(pending, PENDING_FAILED);
    pending_overdue(pending);
    nudge_overdue(pending, pending->fd);
    return true;
}

/* NULL while it is not connected: what is due then is the attempt. */
static struct pending *timed_slot(struct descriptor *entry)
{
    struct pending *pending = pending_of(entry);
    return pending && pending->phase == PENDING_ANSWER ? pending : NULL;
}

/* What the program could see of it by now. */
static unsigned seen_of(const struct pending *pending)
{
    return raw_poll(pending->fd) & ~withheld_of_slot(pending);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint32_t unsent_bytes(int fd)
{
    int unsent = 0;
    return real.ioctl(fd, SIOCOUTQ, &unsent) == 0 && unsent > 0 ? (uint32_t)unsent : 0;
}
