/* Preloaded behind libresil: a wait of the kernel that has found something is late to say so, once, when asked for it. */
#include <dlfcn.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Whose wait (a thread id; 0: nobody's), is it held now, and may it go on? */
extern _Atomic int late_thread, late_is_held, late_may_go;
_Atomic int late_thread, late_is_held, late_may_go;

static void hold(int found)
{
    int thread = (int)syscall(SYS_gettid);
    if (found <= 0 || !atomic_compare_exchange_strong(&late_thread, &thread, 0))
        return;
    late_is_held = 1;
    while (!late_may_go)
        syscall(SYS_nanosleep, &(struct timespec){.tv_nsec = 100000}, NULL);
}

#define LATE(name, parameters, arguments)                                                                    \
    int name parameters                                                                                      \
    {                                                                                                        \
        static int(*real) parameters;                                                                        \
        if (!real)                                                                                           \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                                       \
        int found = real arguments;                                                                          \
        hold(found);                                                                                         \
        return found;                                                                                        \
    }

LATE(ppoll, (struct pollfd * fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask),
     (fds, count, timeout, mask))
LATE(pselect,
     (int count, fd_set *reads, fd_set *writes, fd_set *excepts, const struct timespec *timeout,
      const sigset_t *mask),
     (count, reads, writes, excepts, timeout, mask))
LATE(epoll_pwait2,
     (int epoll, struct epoll_event *events, int count, const struct timespec *timeout, const sigset_t *mask),
     (epoll, events, count, timeout, mask))
