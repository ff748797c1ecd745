#include "drive/nudge.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "drive/sleepers.h"
#include "hooks/real.h"
#include "state/segment.h"

void nudge_attempt_begins(struct pending *pending)
{
    pending->saved_user_timeout_ms = -1;
    uint64_t timeout_ns = pending->call.params.attempt_timeout_ns;
    if (!timeout_ns || real_is_alone())
        return;
    int error = errno, own_ms = 0, ms = (int)((timeout_ns + NS_PER_MS - 1) / NS_PER_MS);
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
    struct registration registration;
    unsigned asleep = real_is_alone() ? 0 : sleepers_look();
    /* One that is disarmed after each event may be so now, and an exclusive one cannot be changed. */
    bool can_be_woken =
        registration_only(fd, &registration) && !(registration.events & (EPOLLONESHOT | EPOLLEXCLUSIVE));
    if (!can_be_woken || !(asleep & (ASLEEP_IN_EPOLL | MAY_BE_ASLEEP))) {
        if (asleep & (ASLEEP_IN_EPOLL | ASLEEP_ELSEWHERE))
            segment_passed(PASSED_ASLEEP);
        return;
    }
    int error = errno;
    struct epoll_event event = {.events = registration.events | EPOLLOUT, .data.u64 = registration.data};
    if (!atomic_exchange(&pending->nudged, 1)) {
        atomic_fetch_add(&pending_head->nudges, 1);
        pending_make_busy();
    }
    real.epoll_ctl(registration.epoll - 1, EPOLL_CTL_MOD, fd, &event);
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
