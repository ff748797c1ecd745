/* Preloaded behind libresil: a wait of the kernel that has found something is late to say so, once, when asked for it; and a
 * system call that disconnects is late to be made. */
#include <dlfcn.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 30 /* times 100 us: who lets it go on may have to wait for it, and does not for long */

/* Whose wait (a thread id; 0: nobody's), whose disconnect, is it held now, and may it go on? */
extern _Atomic int late_thread, late_disconnect, late_is_held, late_may_go;
_Atomic int late_thread, late_disconnect, late_is_held, late_may_go;

static void hold(_Atomic int *whose, unsigned patience)
{
    int thread = (int)syscall(SYS_gettid);
    if (!atomic_compare_exchange_strong(whose, &thread, 0))
        return;
    late_is_held = 1;
    for (unsigned i = 0; !late_may_go && i < patience; i++)
        syscall(SYS_nanosleep, &(struct timespec){.tv_nsec = 100000}, NULL);
}

long syscall(long number, ...)
{
    static long (*real)(long, ...);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    long given[6];
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        given[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_connect && ((const struct sockaddr *)given[1])->sa_family == AF_UNSPEC)
        hold(&late_disconnect, PATIENCE);
    return real(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

#define LATE(name, parameters, arguments)                                                                    \
    int name parameters                                                                                      \
    {                                                                                                        \
        static int(*real) parameters;                                                                        \
        if (!real)                                                                                           \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                                       \
        int found = real arguments;                                                                          \
        if (found > 0)                                                                                       \
            hold(&late_thread, ~0u);                                                                         \
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
