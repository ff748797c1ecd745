/* Descriptors come, go and are copied. Each hook makes the real call and then brings the table up to date; the table
 * is a hint, so what happens behind our back is found out later and does no harm. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "drive/exchange.h"
#include "drive/fault_accept.h"
#include "drive/fault_peer.h"
#include "drive/transfer.h"
#include "drive/midway.h"
#include "drive/readable.h"
#include "drive/readiness.h"
#include "drive/stand_in.h"
#include "hooks/export.h"
#include "hooks/real.h"
#include "state/process.h"
#include "state/registrations.h"

#define CALLER ((uintptr_t)__builtin_return_address(0))

static void made_blocking(int fd, bool is_blocking)
{
    struct descriptor *entry = descriptor_of(fd);
    if (is_blocking)
        descriptor_note_without(fd, SOCKET_UNBLOCKED);
    else
        descriptor_note_unblocked(fd);
    if (entry)
        transfer_made_blocking(entry, fd, is_blocking);
}

static int copied(int fd, int copy)
{
    if (copy < 0 || copy == fd)
        return copy;
    if (!descriptor_limit) {
        descriptor_copied_early(fd, copy);
        return copy;
    }
    registration_forget(copy);
    if (descriptor_of(copy))
        transfer_let_go(copy); /* closed by dup2, or behind our back */
    if ((descriptor_of(fd) || descriptor_kind(fd) || descriptor_kind(copy)) && process_owns_memory())
        descriptor_share(fd, copy);
    return copy;
}

static enum socket_kind kind_of(int family, int type, int protocol)
{
    if (family == AF_UNIX)
        return type == SOCK_STREAM      ? SOCKET_UNIX
               : type == SOCK_SEQPACKET ? SOCKET_UNIX_SEQPACKET
                                        : SOCKET_UNIX_DATAGRAM;
    if (family != AF_INET && family != AF_INET6)
        return SOCKET_OTHER;
    if (type == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP))
        return SOCKET_TCP;
    if (type == SOCK_DGRAM && (protocol == 0 || protocol == IPPROTO_UDP))
        return SOCKET_UDP;
    return SOCKET_OTHER;
}

EXPORT int socket(int family, int type, int protocol)
{
    if (__builtin_expect(faults_are_possible, 0) && fault_socket(CALLER))
        return -1;
    int fd = real.socket(family, type, protocol);
    if (fd >= 0 && !descriptor_limit)
        descriptor_made_early(fd);
    if (fd < 0 || (unsigned)fd >= descriptor_limit)
        return fd;
    descriptor_note_kind(fd, kind_of(family, type & 0xf, protocol) |
                                 (type & SOCK_NONBLOCK ? SOCKET_UNBLOCKED : SOCKET_FRESH));
    registration_forget(fd);
    if (descriptor_of(fd)) /* closed behind our back */
        transfer_let_go(fd);
    if (__builtin_expect(faults_are_possible, 0) && descriptor_kind(fd) == SOCKET_UDP)
        fault_unconnected(fd, type & SOCK_NONBLOCK);
    return fd;
}

/* New numbers: what was there before was closed behind our back. */
static void made(int fd)
{
    if (fd < 0)
        return;
    descriptor_note_kind(fd, SOCKET_UNKNOWN);
    registration_forget(fd);
    if (descriptor_of(fd))
        transfer_let_go(fd);
}

EXPORT int socketpair(int family, int type, int protocol, int pair[2])
{
    int result = real.socketpair(family, type, protocol, pair);
    if (result == 0 && descriptor_limit) {
        made(pair[0]);
        made(pair[1]);
    }
    return result;
}

EXPORT int accept(int fd, __SOCKADDR_ARG address, socklen_t *length)
{
    if (__builtin_expect(faults_are_possible, 0) && fault_accept(fd, CALLER))
        return -1;
    int accepted = real.accept(fd, address.__sockaddr__, length);
    if (descriptor_limit)
        made(accepted);
    if (__builtin_expect(faults_are_possible, 0) && accepted >= 0)
        fault_accepted(fd, accepted);
    return accepted;
}

EXPORT int accept4(int fd, __SOCKADDR_ARG address, socklen_t *length, int flags)
{
    if (__builtin_expect(faults_are_possible, 0) && fault_accept(fd, CALLER))
        return -1;
    int accepted = real.accept4(fd, address.__sockaddr__, length, flags);
    if (descriptor_limit)
        made(accepted);
    if (__builtin_expect(faults_are_possible, 0) && accepted >= 0)
        fault_accepted(fd, accepted);
    return accepted;
}

EXPORT int shutdown(int fd, int how)
{
    struct descriptor *entry = descriptor_of(fd);
    descriptor_note_shut(fd); /* before: a connect that this ends comes back at once */
    if (entry && atomic_load_explicit(&entry->state, memory_order_relaxed) & CONNECTING)
        readiness_give_up(fd, entry);
    if (entry && (how == SHUT_RD || how == SHUT_RDWR))
        exchange_given_up(entry, fd);
    int result = real.shutdown(fd, how);
    if (entry && result == 0 && atomic_load_explicit(&entry->degraded, memory_order_relaxed) &&
        transfer_is_same(entry, fd))
        stand_in_shut(entry, how);
    return result;
}

EXPORT int close(int fd)
{
    if (descriptor_of(fd))
        transfer_let_go(fd); /* before: once it is closed another thread may get the number */
    descriptor_note_kind(fd, SOCKET_UNKNOWN);
    registration_forget(fd);
    return real.close(fd);
}

static void let_go_of_all(unsigned first, unsigned last)
{
    for (int fd = descriptor_next(first, last); fd >= 0; fd = descriptor_next((unsigned)fd + 1, last))
        transfer_let_go(fd);
}

static bool can_close_range(int flags)
{
    int error = errno;
    bool can = real.close_range(~0u, ~0u, flags & ~CLOSE_RANGE_UNSHARE) == 0;
    errno = error;
    return can;
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
    /* Before, as in close(); unless nothing will be closed. The last number there is shows whether the kernel knows the call
     * and its flags. */
    if (!(flags & CLOSE_RANGE_CLOEXEC) && descriptor_next(first, last) >= 0 && can_close_range(flags))
        let_go_of_all(first, last);
    return real.close_range(first, last, flags);
}

EXPORT void closefrom(int first)
{
    let_go_of_all(first < 0 ? 0 : (unsigned)first, ~0u);
    real.closefrom(first);
}

EXPORT int dup(int fd)
{
    return copied(fd, real.dup(fd));
}

/* What `wanted` was is let go of in `copied`: a call that fails closes nothing. */
EXPORT int dup2(int fd, int wanted)
{
    return copied(fd, real.dup2(fd, wanted));
}

EXPORT int dup3(int fd, int wanted, int flags)
{
    return copied(fd, real.dup3(fd, wanted, flags));
}

static int fcntl_done(int fd, int command, void *argument, int result)
{
    if (result < 0)
        return result;
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
        copied(fd, result);
    else if (command == F_SETFL)
        made_blocking(fd, !((long)argument & O_NONBLOCK));
    return result;
}

static int really_fcntl(int fd, void *argument)
{
    return real.fcntl(fd, F_SETFL, argument);
}

static int really_ioctl(int fd, void *argument)
{
    return real.ioctl(fd, FIONBIO, argument);
}

#define THIRD_ARGUMENT(before)                                                                               \
    va_list arguments;                                                                                       \
    va_start(arguments, before);                                                                             \
    void *argument = va_arg(arguments, void *);                                                              \
    va_end(arguments)

EXPORT int fcntl(int fd, int command, ...)
{
    THIRD_ARGUMENT(command);
    if (command == F_SETFL && !((long)argument & O_NONBLOCK) && midway_concerns(fd))
        return fcntl_done(fd, command, argument, midway_made_blocking(fd, really_fcntl, argument));
    return fcntl_done(fd, command, argument, real.fcntl(fd, command, argument));
}

EXPORT int fcntl64(int fd, int command, ...)
{
    THIRD_ARGUMENT(command);
    if (command == F_SETFL && !((long)argument & O_NONBLOCK) && midway_concerns(fd))
        return fcntl_done(fd, command, argument, midway_made_blocking(fd, really_fcntl, argument));
    return fcntl_done(fd, command, argument, real.fcntl64(fd, command, argument));
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
    THIRD_ARGUMENT(request);
    bool is_midway = request == FIONBIO && midway_concerns(fd) && is_readable(argument, sizeof(int)) &&
                     *(int *)argument == 0;
    int result =
        is_midway ? midway_made_blocking(fd, really_ioctl, argument) : real.ioctl(fd, request, argument);
    if (request == FIONBIO && result == 0)
        made_blocking(fd, *(int *)argument == 0);
    return result;
}
