#include "drive/meeting.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "drive/connect.h"
#include "drive/options.h"
#include "drive/raw.h"
#include "hooks/real.h"
#include "state/descent.h"

/* Loopback connects at once; so long nobody waits unless the machine is stuck. */
#define WITHIN_NS     (100 * NS_PER_MS)
#define STRANGERS_MAX 64
#define PORTS_KEPT    16u

_Static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port), "ports");

struct listener {
    int fd;
    union descent_address own, seen; /* as it is, and as the program's socket sees it */
    socklen_t own_length, seen_length;
};

static bool listen_at(struct listener *listener, int fd, const struct sockaddr *like);
static bool listen_on(struct listener *listener, int family);
static bool listen_on_port(struct listener *listener, in_port_t port);
static in_port_t port_take(void);
static void port_give_back(in_port_t port);
static bool connect_to(int fd, const struct listener *listener);
static int accept_own(const struct listener *listener, int fd, enum skipped_reason *why);
static bool is_its_peer(int fd, const struct sockaddr *peer, socklen_t length);

int meet_on_loopback(int fd, const struct sockaddr *like, enum skipped_reason *why)
{
    struct listener listener;
    int end = -1;
    *why = SKIPPED_NO_LOOPBACK;
    if (!option_may_reach_loopback(fd) || !listen_at(&listener, fd, like))
        return -1;
    if (connect_to(fd, &listener))
        end = accept_own(&listener, fd, why);
    raw_close(listener.fd);
    port_give_back(listener.own.v4.sin_port);
    return end;
}

static bool listen_at(struct listener *listener, int fd, const struct sockaddr *like)
{
    static const struct in6_addr mapped = {.s6_addr = {[10] = 0xff, 0xff, 127, 0, 0, 1}};
    bool is_v6 = like->sa_family == AF_INET6;
    bool is_mapped = is_v6 && IN6_IS_ADDR_V4MAPPED(&((const struct sockaddr_in6 *)like)->sin6_addr);
    if (is_v6 && !is_mapped && listen_on(listener, AF_INET6))
        return true;
    int v6_only = 0;
    socklen_t length = sizeof v6_only;
    if (is_v6 && (real.getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, &length) != 0 || v6_only))
        return false;
    if (!listen_on(listener, AF_INET))
        return false;
    if (is_v6) {
        in_port_t port = listener->own.v4.sin_port;
        listener->seen.v6 =
            (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = mapped, .sin6_port = port};
        listener->seen_length = sizeof listener->seen.v6;
    }
    return true;
}

static bool listen_on(struct listener *listener, int family)
{
    memset(&listener->own, 0, sizeof listener->own);
    listener->own.any.sa_family = (sa_family_t)family;
    listener->own_length = family == AF_INET ? sizeof listener->own.v4 : sizeof listener->own.v6;
    if (family == AF_INET)
        listener->own.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        listener->own.v6.sin6_addr = in6addr_loopback;
    in_port_t port = port_take();
    if ((port && listen_on_port(listener, port)) || listen_on_port(listener, 0)) {
        listener->seen = listener->own;
        listener->seen_length = listener->own_length;
        return true;
    }
    return false;
}

/* 0: any. The port stands in the same place in both kinds of addresses. */
static bool listen_on_port(struct listener *listener, in_port_t port)
{
    int on = 1;
    listener->own.v4.sin_port = port;
    listener->fd =
        (int)syscall(SYS_socket, listener->own.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0)
        return false;
    real.setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    socklen_t length = listener->own_length;
    if (syscall(SYS_bind, listener->fd, &listener->own.any, listener->own_length) == 0 &&
        syscall(SYS_listen, listener->fd, STRANGERS_MAX) == 0 &&
        syscall(SYS_getsockname, listener->fd, &listener->own.any, &length) == 0)
        return true;
    raw_close(listener->fd);
    return false;
}

/* Each connection whose end we close first occupies its port for a minute. With a new one for every stand-in there would
 * soon be none left, not even for what the program connects itself; so those that were used are used again. */
static _Atomic in_port_t ports[PORTS_KEPT];

static in_port_t port_take(void)
{
    for (unsigned i = 0; i < PORTS_KEPT; i++) {
        in_port_t port = atomic_load_explicit(&ports[i], memory_order_relaxed);
        if (port && (port = atomic_exchange_explicit(&ports[i], 0, memory_order_relaxed)))
            return port;
    }
    return 0;
}

static void port_give_back(in_port_t port)
{
    for (unsigned i = 0; i < PORTS_KEPT; i++) {
        in_port_t none = 0;
        if (atomic_compare_exchange_strong_explicit(&ports[i], &none, port, memory_order_relaxed,
                                                    memory_order_relaxed))
            return;
    }
}

/* Established, or all but: the listener's queue is empty. One that blocks is bounded, whatever the program has set. */
static bool connect_to(int fd, const struct listener *listener)
{
    uint64_t own_ns = option_get_timeout(fd, SO_SNDTIMEO);
    option_set_timeout(fd, SO_SNDTIMEO, WITHIN_NS);
    bool is_begun = raw_connect(fd, &listener->seen.any, listener->seen_length) == 0 || errno == EINPROGRESS;
    option_set_timeout(fd, SO_SNDTIMEO, own_ns);
    return is_begun;
}

/* Anybody on this machine could have come first. */
static int accept_own(const struct listener *listener, int fd, enum skipped_reason *why)
{
    uint64_t until_ns = clock_now_ns() + WITHIN_NS;
    *why = SKIPPED_STRANGER;
    for (unsigned strangers = 0; strangers < STRANGERS_MAX; strangers++) {
        union descent_address peer;
        socklen_t length = sizeof peer;
        if (!raw_wait(listener->fd, POLLIN, until_ns))
            return -1;
        int end = (int)syscall(SYS_accept4, listener->fd, &peer, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (end < 0)
            continue;
        if (is_its_peer(fd, &peer.any, length))
            return end;
        raw_close(end);
    }
    return -1;
}

static bool is_its_peer(int fd, const struct sockaddr *peer, socklen_t length)
{
    union descent_address own;
    socklen_t own_length = sizeof own;
    struct target here, there;
    return syscall(SYS_getsockname, fd, &own, &own_length) == 0 &&
           target_of_sockaddr(&own.any, own_length, &here) && target_of_sockaddr(peer, length, &there) &&
           here.port == there.port && address_equal(&here.address, &there.address);
}
