/* Waits. Where nothing is pending they go to libc; else the program's own wait carries out what is due.
 *
 * While one thread waits another may begin something, so among threads it is looked at afterwards too, and who begins it
 * can tell that somebody is asleep. A thread that is alone needs neither: then it is a jump. */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "base/clock.h"
#include "drive/nudge.h"
#include "drive/waits.h"
#include "drive/withhold.h"
#include "hooks/export.h"
#include "hooks/real.h"
#include "state/descriptors.h"
#include "state/registrations.h"

static RARE int poll_with_care(struct pollfd *fds, nfds_t count, int timeout, int ready)
{
    return wait_poll(fds, count, wait_deadline_ms(timeout), NULL, ready);
}

static GUARDED int poll_among_threads(struct pollfd *fds, nfds_t count, int timeout)
{
    nudge_fall_asleep(ASLEEP_ELSEWHERE);
    int ready = pending_is_busy() ? NOT_YET : real.poll(fds, count, timeout);
    nudge_wake_up(ASLEEP_ELSEWHERE);
    return pending_is_busy() ? poll_with_care(fds, count, timeout, ready) : ready;
}

EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    if (pending_is_busy())
        return poll_with_care(fds, count, timeout, NOT_YET);
    return real_is_alone() ? real.poll(fds, count, timeout) : poll_among_threads(fds, count, timeout);
}

/* What is no time the kernel refuses; it must be the kernel that does. */
static bool is_time(const struct timespec *timeout)
{
    return !timeout || (timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec < (long)NS_PER_S);
}

static GUARDED int ppoll_among_threads(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                                       const sigset_t *mask)
{
    nudge_fall_asleep(ASLEEP_ELSEWHERE);
    int ready = pending_is_busy() ? NOT_YET : real.ppoll(fds, count, timeout, mask);
    nudge_wake_up(ASLEEP_ELSEWHERE);
    return pending_is_busy() ? wait_poll(fds, count, wait_deadline(timeout), mask, ready) : ready;
}

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    if (!is_time(timeout))
        return real.ppoll(fds, count, timeout, mask);
    if (pending_is_busy())
        return wait_poll(fds, count, wait_deadline(timeout), mask, NOT_YET);
    return real_is_alone() ? real.ppoll(fds, count, timeout, mask)
                           : ppoll_among_threads(fds, count, timeout, mask);
}

EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room)
{
    /* A count over the room is libc's to report. */
    return count > room / sizeof *fds ? real.__poll_chk(fds, count, timeout, room)
                                      : poll(fds, count, timeout);
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask,
                       size_t room)
{
    return count > room / sizeof *fds ? real.__ppoll_chk(fds, count, timeout, mask, room)
                                      : ppoll(fds, count, timeout, mask);
}

/* The real one writes over what it was asked, so among threads a copy is made first. */
static RARE int select_with_care(int count, fd_set *reads, fd_set *writes, fd_set *excepts,
                                 struct timeval *timeout)
{
    bool is_good = !timeout || (timeout->tv_sec >= 0 && timeout->tv_usec >= 0);
    if (!is_good || !wait_select_fits(count, reads, writes, excepts))
        return real.select(count, reads, writes, excepts, timeout);
    struct timespec time;
    if (timeout) {
        time.tv_sec = timeout->tv_sec + timeout->tv_usec / 1000000;
        time.tv_nsec = timeout->tv_usec % 1000000 * 1000;
    }
    return wait_select(count, reads, writes, excepts, timeout, wait_deadline(timeout ? &time : NULL), NULL);
}

EXPORT int select(int count, fd_set *reads, fd_set *writes, fd_set *excepts, struct timeval *timeout)
{
    if (descriptor_limit && (pending_is_busy() || !real_is_alone()))
        return select_with_care(count, reads, writes, excepts, timeout);
    return real.select(count, reads, writes, excepts, timeout);
}

EXPORT int pselect(int count, fd_set *reads, fd_set *writes, fd_set *excepts, const struct timespec *timeout,
                   const sigset_t *mask)
{
    if (descriptor_limit && (pending_is_busy() || !real_is_alone()) && is_time(timeout) &&
        wait_select_fits(count, reads, writes, excepts))
        return wait_select(count, reads, writes, excepts, NULL, wait_deadline(timeout), mask);
    return real.pselect(count, reads, writes, excepts, timeout, mask);
}

EXPORT int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    int result = pending_is_busy() ? withhold_control(epoll, operation, fd, event)
                                   : real.epoll_ctl(epoll, operation, fd, event);
    if (result == 0)
        registration_note(epoll, operation, fd, event);
    return result;
}

static RARE int epoll_with_care(int epoll, struct epoll_event *events, int count, int timeout, int ready)
{
    return wait_epoll(epoll, events, count, wait_deadline_ms(timeout), NULL, false, ready);
}

static GUARDED int epoll_among_threads(int epoll, struct epoll_event *events, int count, int timeout)
{
    nudge_fall_asleep(ASLEEP_IN_EPOLL);
    int ready = pending_is_busy() ? NOT_YET : real.epoll_wait(epoll, events, count, timeout);
    nudge_wake_up(ASLEEP_IN_EPOLL);
    return pending_is_busy() ? epoll_with_care(epoll, events, count, timeout, ready) : ready;
}

EXPORT int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout)
{
    if (pending_is_busy())
        return epoll_with_care(epoll, events, count, timeout, NOT_YET);
    return real_is_alone() ? real.epoll_wait(epoll, events, count, timeout)
                           : epoll_among_threads(epoll, events, count, timeout);
}

static GUARDED int epoll_p_among_threads(int epoll, struct epoll_event *events, int count, int timeout,
                                         const sigset_t *mask)
{
    nudge_fall_asleep(ASLEEP_IN_EPOLL);
    int ready = pending_is_busy() ? NOT_YET : real.epoll_pwait(epoll, events, count, timeout, mask);
    nudge_wake_up(ASLEEP_IN_EPOLL);
    return pending_is_busy() ? wait_epoll(epoll, events, count, wait_deadline_ms(timeout), mask, false, ready)
                             : ready;
}

EXPORT int epoll_pwait(int epoll, struct epoll_event *events, int count, int timeout, const sigset_t *mask)
{
    if (pending_is_busy())
        return wait_epoll(epoll, events, count, wait_deadline_ms(timeout), mask, false, NOT_YET);
    return real_is_alone() ? real.epoll_pwait(epoll, events, count, timeout, mask)
                           : epoll_p_among_threads(epoll, events, count, timeout, mask);
}

static GUARDED int epoll_p2_among_threads(int epoll, struct epoll_event *events, int count,
                                          const struct timespec *timeout, const sigset_t *mask)
{
    nudge_fall_asleep(ASLEEP_IN_EPOLL);
    int ready = pending_is_busy() ? NOT_YET : real.epoll_pwait2(epoll, events, count, timeout, mask);
    nudge_wake_up(ASLEEP_IN_EPOLL);
    return pending_is_busy() ? wait_epoll(epoll, events, count, wait_deadline(timeout), mask, true, ready)
                             : ready;
}

EXPORT int epoll_pwait2(int epoll, struct epoll_event *events, int count, const struct timespec *timeout,
                        const sigset_t *mask)
{
    if (!is_time(timeout))
        return real.epoll_pwait2(epoll, events, count, timeout, mask);
    if (pending_is_busy())
        return wait_epoll(epoll, events, count, wait_deadline(timeout), mask, true, NOT_YET);
    return real_is_alone() ? real.epoll_pwait2(epoll, events, count, timeout, mask)
                           : epoll_p2_among_threads(epoll, events, count, timeout, mask);
}
