#include "drive/signals.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>

#include "base/clock.h"
#include "hooks/real.h"
#include "policy/call.h"

#define BIT(signal) (1ul << ((signal)-1))

static bool has_handler_without(int flags, const sigset_t *blocked);

void signals_block(sigset_t *before)
{
    /* What the program does wrong must still stop it at once. As the kernel has it, written down: to take them out of all
     * signals one by one would take longer than the call. */
    static const sigset_t all_but_faults = {{~(BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGILL) |
                                               BIT(SIGTRAP) | BIT(SIGSYS) | BIT(SIGABRT)),
                                             ~0ul}};
    pthread_sigmask(SIG_BLOCK, &all_but_faults, before);
}

void signals_restore(const sigset_t *before)
{
    int error = errno;
    pthread_sigmask(SIG_SETMASK, before, NULL);
    errno = error;
}

bool signals_all_restart(void)
{
    sigset_t none;
    sigemptyset(&none);
    return !has_handler_without(SA_RESTART, &none);
}

bool signals_can_interrupt(const sigset_t *blocked)
{
    return has_handler_without(0, blocked);
}

/* Of a signal that is not blocked; without any of those flags. */
static bool has_handler_without(int flags, const sigset_t *blocked)
{
    int error = errno;
    bool has = false;
    for (int number = 1; number < NSIG && !has; number++) {
        struct sigaction action;
        if (sigismember(blocked, number) == 1 || sigaction(number, NULL, &action) != 0)
            continue; /* those that libc keeps for itself */
        bool has_handler =
            action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN; /* the same word as sa_sigaction */
        has = has_handler && !(action.sa_flags & flags);
    }
    errno = error;
    return has;
}

enum waited signals_wait(int fd, short events, uint64_t until_ns, const sigset_t *mask)
{
    for (;;) {
        uint64_t now = clock_now_ns();
        struct timespec left = timespec_of_ns(until_ns > now ? until_ns - now : 0);
        struct pollfd wanted = {.fd = fd, .events = events};
        int ready = real.ppoll(&wanted, 1, until_ns == NEVER ? NULL : &left, mask);
        if (ready > 0)
            return wanted.revents == POLLERR ? WAITED_ERROR : WAITED_READY;
        if (ready < 0 && errno == EINTR) {
            if (!signals_all_restart())
                return WAITED_INTERRUPTED;
        } else if (ready < 0 || clock_now_ns() >= until_ns) {
            return ready < 0 ? WAITED_READY : WAITED_OUT; /* what is wrong, the call itself will say */
        }
    }
}
