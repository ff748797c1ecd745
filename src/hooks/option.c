/* The program's own timeouts: it sees its own values, and the shorter of its and the rule's is in force. */
#include <string.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/time.h>

#include "base/clock.h"
#include "drive/own_option.h"
#include "drive/readiness.h"
#include "drive/transfer.h"
#include "hooks/export.h"
#include "hooks/real.h"
#include "state/degraded.h"

/* The same structure on 64-bit machines, under a second number. */
static int timeout_option(int level, int option)
{
    if (level != SOL_SOCKET)
        return 0;
    if (option == SO_RCVTIMEO || option == SO_RCVTIMEO_NEW)
        return SO_RCVTIMEO;
    if (option == SO_SNDTIMEO || option == SO_SNDTIMEO_NEW)
        return SO_SNDTIMEO;
    return 0;
}

/* Read once, as the kernel gives it. */
static RARE int get_so_error(struct descriptor *entry, int fd, void *value, socklen_t *length)
{
    int error;
    bool is_ours = readiness_so_error(fd, entry, &error);
    /* Where it is ours the kernel's is left alone: it may be that of an attempt that has just begun, and is to be hidden. */
    int result = real.getsockopt(fd, SOL_SOCKET, is_ours ? SO_TYPE : SO_ERROR, value, length);
    if (result == 0 && is_ours)
        memcpy(value, &error, *length < sizeof error ? *length : sizeof error);
    return result;
}

static RARE int get_own_timeout(struct descriptor *entry, int fd, int option, void *value, socklen_t *length)
{
    uint64_t own_ns;
    int result = real.getsockopt(fd, SOL_SOCKET, option, value, length);
    if (result == 0 && transfer_own_timeout(entry, fd, option, &own_ns)) {
        struct timeval own = timeval_of_ns(own_ns);
        memcpy(value, &own, *length < sizeof own ? *length : sizeof own); /* the kernel cuts it too */
    }
    return result;
}

EXPORT int getsockopt(int fd, int level, int option, void *value, socklen_t *length)
{
    struct descriptor *entry = descriptor_of(fd);
    int timeout;
    if (entry && own_option_concerns(entry, level, option))
        return own_option_get(entry, fd, level, option, value, length);
    if (entry && level == SOL_SOCKET && option == SO_ERROR &&
        atomic_load_explicit(&entry->state, memory_order_relaxed) & (CONNECTING | CONNECT_ERROR_DUE))
        return get_so_error(entry, fd, value, length);
    if (entry && (timeout = timeout_option(level, option)))
        return get_own_timeout(entry, fd, timeout, value, length);
    return real.getsockopt(fd, level, option, value, length);
}

/* As the kernel would tell of what the program asked for. */
static RARE int get_asked_peer(struct descriptor *entry, int fd, struct sockaddr *address, socklen_t *length)
{
    struct degraded *degraded = degraded_of(entry);
    socklen_t room = length ? *length : 0;
    int result = real.getpeername(fd, address, length);
    if (result != 0 || !length || !degraded || !degraded->presents_asked || !transfer_is_same(entry, fd))
        return result;
    memcpy(address, &degraded->asked, degraded->asked_length < room ? degraded->asked_length : room);
    *length = degraded->asked_length;
    return 0;
}

EXPORT int getpeername(int fd, __SOCKADDR_ARG address, socklen_t *length)
{
    struct descriptor *entry = descriptor_of(fd);
    if (entry && atomic_load_explicit(&entry->degraded, memory_order_relaxed))
        return get_asked_peer(entry, fd, address.__sockaddr__, length);
    return real.getpeername(fd, address.__sockaddr__, length);
}

EXPORT int setsockopt(int fd, int level, int option, const void *value, socklen_t length)
{
    struct descriptor *entry = descriptor_of(fd);
    int timeout = timeout_option(level, option);
    if (entry && own_option_concerns(entry, level, option))
        return own_option_set(entry, fd, level, option, value, length);
    if (timeout) /* the note outlives the entry */
        descriptor_note_without(fd, SOCKET_FRESH);
    if (timeout && entry && (int)length >= (int)sizeof(struct timeval)) /* signed, as the kernel sees it */
        return transfer_set_timeout(entry, fd, timeout, value);
    if (level == IPPROTO_TCP && option == TCP_FASTOPEN_CONNECT)
        descriptor_note_with(fd, SOCKET_FASTOPEN);
    return real.setsockopt(fd, level, option, value, length);
}
