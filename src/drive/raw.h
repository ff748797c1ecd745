/* System calls that must not be cancellation points: they are made on behalf of a wait, with something half done. errno is
 * set as usual. */
#ifndef DRIVE_RAW_H
#define DRIVE_RAW_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static inline int raw_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    return (int)syscall(SYS_connect, fd, address, length);
}

/* Ends whatever connection or attempt there is; the descriptor can be connected again. */
static inline bool raw_disconnect(int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    return raw_connect(fd, &none, sizeof none) == 0;
}

static inline void raw_close(int fd)
{
    syscall(SYS_close, fd);
}

/* Does one of `events` come (POLL...) until then? A handler that runs meanwhile changes nothing. */
static inline bool raw_wait(int fd, short events, uint64_t until_ns)
{
    for (;;) {
        uint64_t now = clock_now_ns();
        struct pollfd asked = {.fd = fd, .events = events};
        struct timespec left = timespec_of_ns(until_ns > now ? until_ns - now : 0);
        long ready = syscall(SYS_ppoll, &asked, 1, &left, NULL, 8);
        if (ready >= 0 || errno != EINTR)
            return ready > 0;
    }
}

/* What holds now, of everything that a wait could be about. */
static inline unsigned raw_poll(int fd)
{
    struct pollfd asked = {.fd = fd,
                           .events = POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLRDBAND |
                                     POLLWRNORM | POLLWRBAND};
    struct timespec now = {0, 0};
    return syscall(SYS_ppoll, &asked, 1, &now, NULL, 8) > 0 ? (unsigned short)asked.revents : 0;
}

#endif
