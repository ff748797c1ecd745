/* Waits. Nothing is ever pending yet, so they go straight to libc. */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "hooks/export.h"
#include "hooks/real.h"

EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    return real.poll(fds, count, timeout);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    return real.ppoll(fds, count, timeout, mask);
}

EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room)
{
    return real.__poll_chk(fds, count, timeout, room);
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask,
                       size_t room)
{
    return real.__ppoll_chk(fds, count, timeout, mask, room);
}

EXPORT int select(int count, fd_set *reads, fd_set *writes, fd_set *excepts, struct timeval *timeout)
{
    return real.select(count, reads, writes, excepts, timeout);
}

EXPORT int pselect(int count, fd_set *reads, fd_set *writes, fd_set *excepts, const struct timespec *timeout,
                   const sigset_t *mask)
{
    return real.pselect(count, reads, writes, excepts, timeout, mask);
}

EXPORT int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    return real.epoll_ctl(epoll, operation, fd, event);
}

EXPORT int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout)
{
    return real.epoll_wait(epoll, events, count, timeout);
}

EXPORT int epoll_pwait(int epoll, struct epoll_event *events, int count, int timeout, const sigset_t *mask)
{
    return real.epoll_pwait(epoll, events, count, timeout, mask);
}

EXPORT int epoll_pwait2(int epoll, struct epoll_event *events, int count, const struct timespec *timeout,
                        const sigset_t *mask)
{
    return real.epoll_pwait2(epoll, events, count, timeout, mask);
}
