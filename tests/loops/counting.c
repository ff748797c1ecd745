/* Preloaded behind libresil: counts the waits that reach the kernel, and those of them that find nothing. `waits_signal`: the
 * first one that finds something gets that signal at the moment when it has ended. */
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>

extern _Atomic unsigned long waits_made, waits_empty;
extern int waits_signal;
_Atomic unsigned long waits_made, waits_empty;
int waits_signal;

static int ended(int ready)
{
    int number = ready > 0 ? waits_signal : 0;
    waits_empty += ready == 0;
    if (number) {
        waits_signal = 0;
        raise(number);
    }
    return ready;
}

#define COUNTED(name, parameters, arguments)                                                                 \
    int name parameters                                                                                      \
    {                                                                                                        \
        static int(*real) parameters;                                                                        \
        if (!real)                                                                                           \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                                       \
        waits_made++;                                                                                        \
        return ended(real arguments);                                                                        \
    }

COUNTED(poll, (struct pollfd * fds, nfds_t count, int timeout), (fds, count, timeout))
COUNTED(ppoll, (struct pollfd * fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask),
        (fds, count, timeout, mask))
COUNTED(select, (int count, fd_set *reads, fd_set *writes, fd_set *excepts, struct timeval *timeout),
        (count, reads, writes, excepts, timeout))
COUNTED(pselect,
        (int count, fd_set *reads, fd_set *writes, fd_set *excepts, const struct timespec *timeout,
         const sigset_t *mask),
        (count, reads, writes, excepts, timeout, mask))
COUNTED(epoll_wait, (int epoll, struct epoll_event *events, int count, int timeout),
        (epoll, events, count, timeout))
COUNTED(epoll_pwait, (int epoll, struct epoll_event *events, int count, int timeout, const sigset_t *mask),
        (epoll, events, count, timeout, mask))
COUNTED(epoll_pwait2,
        (int epoll, struct epoll_event *events, int count, const struct timespec *timeout,
         const sigset_t *mask),
        (epoll, events, count, timeout, mask))
