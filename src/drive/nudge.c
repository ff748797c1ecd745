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
static void put_right(int fd);

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
    if (real_is_alone())
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
    unsigned asleep = real_is_alone() ? 0 : sleepers_look();
    bool is_told = asleep & (ASLEEP_IN_EPOLL | MAY_BE_ASLEEP) && report_anew(pending, fd);
    if (!is_told && asleep & (ASLEEP_IN_EPOLL | ASLEEP_ELSEWHERE))
        segment_passed(PASSED_ASLEEP);
}

void nudge_overdue(struct pending *pending, int fd)
{
    if (!report_anew(pending, fd) && !real_is_alone() &&
        sleepers_look() & (ASLEEP_IN_EPOLL | ASLEEP_ELSEWHERE))
        segment_passed(PASSED_ASLEEP);
}

/* The epoll that it is registered with reports it, as room to send is there. False: it cannot be made to. */
static bool report_anew(struct pending *pending, int fd)
{
    struct registration registration;
    const struct descriptor *entry = atomic_load_explicit(&pending->entry, memory_order_relaxed);
    /* A fork child shares the epoll with its parent, who would not know what it is shown. */
    if (!entry || entry->owner != process_id())
        return false;
    /* One that is disarmed after each event may be so now, and an exclusive one cannot be changed. */
    if (!registration_only(fd, &registration) || registration.events & (EPOLLONESHOT | EPOLLEXCLUSIVE))
        return false;
    int error = errno;
    struct epoll_event event = {.events = registration.events | EPOLLOUT, .data.u64 = registration.data};
    if (!atomic_exchange(&pending->nudged, 1)) {
        atomic_fetch_add(&pending_head->nudges, 1);
        pending_make_busy();
    }
    real.epoll_ctl(registration.epoll - 1, EPOLL_CTL_MOD, fd, &event);
    if (!atomic_load(&pending->nudged)) /* who has woken up meanwhile has put it right before this */
        put_right(fd);
    errno = error;
    return true;
}

void nudge_over(struct pending *pending)
{
    if (!atomic_exchange(&pending->nudged, 0))
        return;
    atomic_fetch_sub(&pending_head->nudges, 1);
    put_right(pending->fd);
}

/* As the program has made it. */
static void put_right(int fd)
{
    struct registration registration;
    int error = errno;
    if (registration_only(fd, &registration)) {
        struct epoll_event event = {.events = registration.events, .data.u64 = registration.data};
        real.epoll_ctl(registration.epoll - 1, EPOLL_CTL_MOD, fd, &event);
    }
    errno = error;
}

unsigned nudge_seen(struct pending *pending, int epoll, int fd, const struct registration *registration,
                    unsigned events)
{
    if (!atomic_exchange(&pending->nudged, 0))
        return events;
    atomic_fetch_sub(&pending_head->nudges, 1);
    int error = errno;
    struct epoll_event event = {.events = registration->events, .data.u64 = registration->data};
    real.epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
    errno = error;
    return events & (registration->events | EPOLLERR | EPOLLHUP);
}
