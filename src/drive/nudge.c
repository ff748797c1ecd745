#include "drive/nudge.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "drive/sleepers.h"
#include "hooks/real.h"
#include "state/process.h"
#include "state/segment.h"

static void time_by_kernel(struct pending *pending, int ms);
static bool report_anew(struct pending *pending, int fd);
static bool report_anew_in(struct pending *pending, int fd, const struct registration *registration);
static uint32_t mark_of(const struct registration *registration);
static uint32_t take_back(struct pending *pending, int fd, uint32_t marks);
static void put_right(int fd, uint32_t marks);
static bool change(int fd, const struct registration *registration, unsigned events);

void nudge_attempt_begins(struct pending *pending)
{
    uint64_t timeout_ns = pending->call.params.attempt_timeout_ns;
    pending->saved_user_timeout_ms = -1;
    if (timeout_ns)
        time_by_kernel(pending, (int)((timeout_ns + NS_PER_MS - 1) / NS_PER_MS));
}

void nudge_parked(struct pending *pending)
{
    time_by_kernel(pending, 1);
}

/* Unless the program asks for less, or there is no other thread that could be asleep. */
static void time_by_kernel(struct pending *pending, int ms)
{
    if (process_is_alone())
        return;
    int error = errno, own_ms = 0;
    socklen_t length = sizeof own_ms;
    if (real.getsockopt(pending->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &own_ms, &length) == 0 &&
        (own_ms == 0 || own_ms > ms) &&
        real.setsockopt(pending->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms) == 0)
        pending->saved_user_timeout_ms = own_ms;
    errno = error;
}

void nudge_attempt_ended(struct pending *pending)
{
    int own_ms = pending->saved_user_timeout_ms, error = errno;
    if (own_ms < 0)
        return;
    real.setsockopt(pending->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &own_ms, sizeof own_ms);
    pending->saved_user_timeout_ms = -1;
    errno = error;
}

void nudge_waiter(struct pending *pending, int fd)
{
    unsigned asleep = process_is_alone() ? 0 : sleepers_look();
    bool is_told = asleep & (ASLEEP_IN_EPOLL | MAY_BE_ASLEEP) && report_anew(pending, fd);
    if (!is_told && asleep & (ASLEEP_IN_EPOLL | ASLEEP_ELSEWHERE))
        segment_passed(PASSED_ASLEEP);
}

void nudge_overdue(struct pending *pending, int fd)
{
    if (!report_anew(pending, fd) && !process_is_alone() &&
        sleepers_look() & (ASLEEP_IN_EPOLL | ASLEEP_ELSEWHERE))
        segment_passed(PASSED_ASLEEP);
}

/* The epolls that it is registered with report it, as room to send is there. False: not all of them can be made to. */
static bool report_anew(struct pending *pending, int fd)
{
    struct registration registration;
    unsigned turn = 0;
    const struct descriptor *entry = atomic_load_explicit(&pending->entry, memory_order_relaxed);
    /* A fork child shares the epoll with its parent, who would not know what it is shown. */
    if (!entry || entry->owner != process_id())
        return false;
    int error = errno;
    bool is_told = false, is_missed = registration_is_unclear(fd);
    while (registration_known(fd, &turn, &registration)) {
        /* One that is disarmed after each event may be so now. */
        bool can_report = !(registration.events & EPOLLONESHOT);
        bool reports = can_report && report_anew_in(pending, fd, &registration);
        is_told |= reports;
        is_missed |= !can_report;
    }
    errno = error;
    return is_told && !is_missed;
}

/* False: it is not registered there any more. */
static bool report_anew_in(struct pending *pending, int fd, const struct registration *registration)
{
    uint32_t mark = mark_of(registration);
    if (!(atomic_fetch_or(&pending->nudged, mark) & mark)) {
        atomic_fetch_add(&pending_head->nudges, 1);
        pending_make_busy();
    }
    bool is_registered = change(fd, registration, registration->events | EPOLLOUT);
    if (!is_registered)
        take_back(pending, fd, mark);
    else if (!(atomic_load(&pending->nudged) &
               mark)) /* who has woken up meanwhile has put it right before this */
        put_right(fd, mark);
    return is_registered;
}

/* Registrations are told apart by the numbers of their epolls, as far as these differ. */
static uint32_t mark_of(const struct registration *registration)
{
    return UINT32_C(1) << ((unsigned)registration->epoll % 32);
}

void nudge_over(struct pending *pending)
{
    take_back(pending, pending->fd, ~UINT32_C(0));
}

/* Those of these that there are: which. Until all is put right others must not take what they see for what was asked for, and
 * whose wait began before that not afterwards either. */
static uint32_t take_back(struct pending *pending, int fd, uint32_t marks)
{
    marks &= atomic_fetch_and(&pending->nudged, ~marks);
    if (!marks)
        return 0;
    put_right(fd, marks);
    atomic_fetch_add(&pending_head->changes, 1);
    atomic_fetch_sub(&pending_head->nudges, pending_nudges_in(marks));
    return marks;
}

/* As the program has made them. */
static void put_right(int fd, uint32_t marks)
{
    struct registration registration;
    unsigned turn = 0;
    int error = errno;
    while (registration_known(fd, &turn, &registration))
        if (mark_of(&registration) & marks)
            change(fd, &registration, registration.events);
    errno = error;
}

/* An exclusive one can only be put in anew. False: it is not there. */
static bool change(int fd, const struct registration *registration, unsigned events)
{
    struct epoll_event event = {.events = events, .data.u64 = registration->data};
    int epoll = registration->epoll - 1, operation = EPOLL_CTL_MOD;
    if (registration->events & EPOLLEXCLUSIVE) {
        operation = EPOLL_CTL_ADD;
        if (real.epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event) != 0)
            return false;
    }
    return real.epoll_ctl(epoll, operation, fd, &event) == 0;
}

bool nudge_is_in(const struct pending *pending, int epoll)
{
    struct registration registration = {.epoll = epoll + 1};
    return atomic_load_explicit(&pending->nudged, memory_order_relaxed) & mark_of(&registration);
}

unsigned nudge_seen(struct pending *pending, int epoll, int fd, const struct registration *registration,
                    unsigned events)
{
    struct registration mine = {.epoll = epoll + 1};
    if (!take_back(pending, fd, mark_of(&mine)))
        return events;
    return events & (registration->events | EPOLLERR | EPOLLHUP);
}
