/* Waits. Where nothing is pending they go to libc; else the program's own wait carries out what is due.
 *
 * While one thread waits another may begin something, so it is looked at afterwards too. What a wait was asked for is kept
 * for that (hooks/wait_entry.h). A wait that ends at a time
 * also notes when it began, unless its thread is alone: then nothing can begin meanwhile. */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "base/clock.h"
#include "drive/readable.h"
#include "drive/waits.h"
#include "drive/withhold.h"
#include "hooks/export.h"
#include "hooks/real.h"
#include "hooks/wait_entry.h"
#include "state/descriptors.h"
#include "state/registrations.h"

/* As WAIT_ENTRY makes it. */
struct poll_call {
    struct pollfd *fds;
    nfds_t count;
    int timeout;
};

static RARE int poll_with_care(const struct poll_call *call, uint64_t began_ns, int ready)
{
    return wait_poll(call->fds, call->count, wait_deadline_ms(call->timeout, began_ns), NULL, ready);
}

static RARE int poll_carried_out(struct pollfd *fds, nfds_t count, int timeout)
{
    struct poll_call call = {fds, count, timeout};
    return poll_with_care(&call, BEGINS_NOW, NOT_YET);
}

static GUARDED int poll_among_threads(struct pollfd *fds, nfds_t count, int timeout)
{
    struct poll_call call = {fds, count, timeout};
    uint64_t began_ns = clock_now_ns();
    int ready = real.poll(fds, count, timeout);
    return pending_is_busy() ? poll_with_care(&call, began_ns, ready) : ready;
}

static LED_TO int poll_for_a_time(struct pollfd *fds, nfds_t count, int timeout)
{
    if (pending_is_busy())
        return poll_carried_out(fds, count, timeout);
    return process_is_alone() ? real.poll(fds, count, timeout) : poll_among_threads(fds, count, timeout);
}

static LED_TO RARE int poll_seen(const struct poll_call *call, int ready)
{
    return poll_with_care(call, BEGINS_NOW, ready);
}

EXPORT ENTERED int poll(struct pollfd *fds, nfds_t count, int timeout)
{
#ifdef WAIT_ENTRY
    WAIT_ENTRY(poll, "rdi", "rsi", "dx");
#else
    if (pending_concerns(timeout))
        return poll_for_a_time(fds, count, timeout);
    struct poll_call call = {fds, count, timeout};
    int ready = real.poll(fds, count, timeout);
    return pending_is_busy() ? poll_seen(&call, ready) : ready;
#endif
}

/* What is no time the kernel refuses; it must be the kernel that does. */
static bool is_time(const struct timespec *timeout)
{
    return !timeout || (timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec < (long)NS_PER_S);
}

/* When a wait of that time begins among threads. */
static uint64_t beginning(const struct timespec *timeout)
{
    return timeout && (timeout->tv_sec | timeout->tv_nsec) ? clock_now_ns() : BEGINS_NOW;
}

static GUARDED int ppoll_among_threads(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                                       const sigset_t *mask)
{
    uint64_t began_ns = beginning(timeout);
    int ready = real.ppoll(fds, count, timeout, mask);
    return pending_is_busy() ? wait_poll(fds, count, wait_deadline(timeout, began_ns), mask, ready) : ready;
}

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    if (!is_time(timeout))
        return real.ppoll(fds, count, timeout, mask);
    if (pending_is_busy())
        return wait_poll(fds, count, wait_deadline(timeout, BEGINS_NOW), mask, NOT_YET);
    return process_is_alone() ? real.ppoll(fds, count, timeout, mask)
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
    count = wait_select_count(count);
    if (!is_good || !wait_select_fits(count, reads, writes, excepts))
        return real.select(count, reads, writes, excepts, timeout);
    struct timespec time;
    if (timeout) {
        time.tv_sec = timeout->tv_sec + timeout->tv_usec / 1000000;
        time.tv_nsec = timeout->tv_usec % 1000000 * 1000;
    }
    return wait_select(count, reads, writes, excepts, timeout,
                       wait_deadline(timeout ? &time : NULL, BEGINS_NOW), NULL);
}

EXPORT int select(int count, fd_set *reads, fd_set *writes, fd_set *excepts, struct timeval *timeout)
{
    if (descriptor_limit && (pending_is_busy() || !process_is_alone()))
        return select_with_care(count, reads, writes, excepts, timeout);
    return real.select(count, reads, writes, excepts, timeout);
}

static RARE int pselect_with_care(int count, fd_set *reads, fd_set *writes, fd_set *excepts,
                                  const struct timespec *timeout, const sigset_t *mask)
{
    count = wait_select_count(count);
    if (!is_time(timeout) || !wait_select_fits(count, reads, writes, excepts))
        return real.pselect(count, reads, writes, excepts, timeout, mask);
    return wait_select(count, reads, writes, excepts, NULL, wait_deadline(timeout, BEGINS_NOW), mask);
}

EXPORT int pselect(int count, fd_set *reads, fd_set *writes, fd_set *excepts, const struct timespec *timeout,
                   const sigset_t *mask)
{
    if (descriptor_limit && (pending_is_busy() || !process_is_alone()))
        return pselect_with_care(count, reads, writes, excepts, timeout, mask);
    return real.pselect(count, reads, writes, excepts, timeout, mask);
}

/* Where no other thread could be told of the descriptor meanwhile it is noted afterwards rather than asking the kernel whether the
 * event can be read. */
static GUARDED int epoll_ctl_and_note(int epoll, int operation, int fd, struct epoll_event *event)
{
    bool is_alone = process_is_alone(), is_put_in = operation != EPOLL_CTL_DEL;
    bool is_early = !is_put_in || is_on_stack(event) || (!is_alone && readable_ask(event, sizeof *event));
    struct registration before = {.epoll = 0};
    if (is_early && is_alone)
        registration_find(epoll, fd, &before);
    if (is_early)
        registration_note(epoll, operation, fd, event);
    int result = withhold_control(epoll, operation, fd, event);
    if (result == 0 && !is_early)
        registration_note(epoll, operation, fd, event);
    if (result != 0 && is_early && is_put_in)
        registration_undo(epoll, fd, event, &before);
    return result;
}

/* Programs call it more often than any wait: a jump to libc spares them a return to here. */
EXPORT int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    bool is_plain = __builtin_expect(!withhold_is_on(), 1) &&
                    registration_note_early(epoll, operation, fd, event, is_on_stack(event));
    return is_plain ? real.epoll_ctl(epoll, operation, fd, event)
                    : epoll_ctl_and_note(epoll, operation, fd, event);
}

/* As WAIT_ENTRY makes it. */
struct epoll_call {
    struct epoll_event *events;
    _Alignas(8) int epoll;
    _Alignas(8) int timeout;
};

/* How many events there is room for is not remembered: what has been found there is room for. */
static RARE int epoll_with_care(const struct epoll_call *call, int count, uint64_t began_ns, int ready)
{
    return wait_epoll(call->epoll, call->events, count, wait_deadline_ms(call->timeout, began_ns), NULL,
                      false, ready);
}

static RARE int epoll_carried_out(int epoll, struct epoll_event *events, int count, int timeout)
{
    struct epoll_call call = {events, epoll, timeout};
    return epoll_with_care(&call, count, BEGINS_NOW, NOT_YET);
}

static GUARDED int epoll_among_threads(int epoll, struct epoll_event *events, int count, int timeout)
{
    struct epoll_call call = {events, epoll, timeout};
    uint64_t began_ns = clock_now_ns();
    int ready = real.epoll_wait(epoll, events, count, timeout);
    return pending_is_busy() ? epoll_with_care(&call, count, began_ns, ready) : ready;
}

static LED_TO int epoll_wait_for_a_time(int epoll, struct epoll_event *events, int count, int timeout)
{
    if (pending_is_busy())
        return epoll_carried_out(epoll, events, count, timeout);
    return process_is_alone() ? real.epoll_wait(epoll, events, count, timeout)
                              : epoll_among_threads(epoll, events, count, timeout);
}

static LED_TO RARE int epoll_wait_seen(const struct epoll_call *call, int ready)
{
    return epoll_with_care(call, ready, BEGINS_NOW, ready);
}

EXPORT ENTERED int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout)
{
#ifdef WAIT_ENTRY
    WAIT_ENTRY(epoll_wait, "rsi", "rdi", "cx");
#else
    if (pending_concerns(timeout))
        return epoll_wait_for_a_time(epoll, events, count, timeout);
    struct epoll_call call = {events, epoll, timeout};
    int ready = real.epoll_wait(epoll, events, count, timeout);
    return pending_is_busy() ? epoll_wait_seen(&call, ready) : ready;
#endif
}

static GUARDED int epoll_p_among_threads(int epoll, struct epoll_event *events, int count, int timeout,
                                         const sigset_t *mask)
{
    uint64_t began_ns = timeout > 0 ? clock_now_ns() : BEGINS_NOW;
    int ready = real.epoll_pwait(epoll, events, count, timeout, mask);
    return pending_is_busy()
               ? wait_epoll(epoll, events, count, wait_deadline_ms(timeout, began_ns), mask, false, ready)
               : ready;
}

EXPORT int epoll_pwait(int epoll, struct epoll_event *events, int count, int timeout, const sigset_t *mask)
{
    if (pending_is_busy())
        return wait_epoll(epoll, events, count, wait_deadline_ms(timeout, BEGINS_NOW), mask, false, NOT_YET);
    return process_is_alone() ? real.epoll_pwait(epoll, events, count, timeout, mask)
                              : epoll_p_among_threads(epoll, events, count, timeout, mask);
}

static GUARDED int epoll_p2_among_threads(int epoll, struct epoll_event *events, int count,
                                          const struct timespec *timeout, const sigset_t *mask)
{
    uint64_t began_ns = beginning(timeout);
    int ready = real.epoll_pwait2(epoll, events, count, timeout, mask);
    return pending_is_busy()
               ? wait_epoll(epoll, events, count, wait_deadline(timeout, began_ns), mask, true, ready)
               : ready;
}

EXPORT int epoll_pwait2(int epoll, struct epoll_event *events, int count, const struct timespec *timeout,
                        const sigset_t *mask)
{
    if (!is_time(timeout))
        return real.epoll_pwait2(epoll, events, count, timeout, mask);
    if (pending_is_busy())
        return wait_epoll(epoll, events, count, wait_deadline(timeout, BEGINS_NOW), mask, true, NOT_YET);
    return process_is_alone() ? real.epoll_pwait2(epoll, events, count, timeout, mask)
                              : epoll_p2_among_threads(epoll, events, count, timeout, mask);
}
