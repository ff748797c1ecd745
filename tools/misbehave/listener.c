#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool parse_address(struct listener *listener, const char *text, struct problem *problem);
static int bound_socket(struct listener *listener);
static bool start_listening(struct listener *listener, int backlog, struct problem *problem);
static void close_fillers(struct listener *listener);
static bool is_filler(const struct listener *listener, int fd);
static bool add_filler(struct listener *listener);
static bool is_full(const struct listener *listener);

bool listener_open(struct listener *listener, const char *text, struct problem *problem)
{
    *listener = (struct listener){.fd = -1};
    if (!parse_address(listener, text, problem))
        return false;
    int fd = bound_socket(listener);
    if (fd >= 0) {
        /* The kernel takes a port that it chose itself away when listening ends, but leaves one that was
         * asked for. So ask again for the one it chose. */
        listener->fd = bound_socket(listener);
        close(fd);
    }
    if (listener->fd >= 0)
        return true;
    problem_say(problem, "cannot bind %.80s: %s; give an address of this machine and a free port (0: any)",
                text, strerror(errno));
    return false;
}

void listener_close(struct listener *listener)
{
    close_fillers(listener);
    if (listener->fd >= 0)
        close(listener->fd);
    listener->fd = -1;
}

void listener_refuse(struct listener *listener)
{
    /* On a listening socket this ends listening and keeps the address. */
    if (listener->is_listening)
        shutdown(listener->fd, SHUT_RDWR);
    listener->is_listening = false;
    close_fillers(listener);
}

bool listener_accept(struct listener *listener, struct problem *problem)
{
    /* The kernel cuts this down to net.core.somaxconn. */
    return start_listening(listener, 65535, problem);
}

bool listener_blackhole(struct listener *listener, struct problem *problem)
{
    /* With backlog 0 one connection still gets in, and later SYNs are dropped as long as nobody accepts
     * it. */
    if (!start_listening(listener, 0, problem))
        return false;
    while (!is_full(listener))
        if (!add_filler(listener)) {
            problem_say(problem, "cannot fill the backlog with a connection to ourselves: %s",
                        strerror(errno));
            listener_refuse(listener);
            return false;
        }
    return true;
}

int listener_take(struct listener *listener)
{
    for (;;) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd >= 0 && is_filler(listener, fd)) {
            close(fd);
            continue;
        }
        if (fd < 0 && errno == EAGAIN) {
            /* Whatever of a former black hole was in the queue has been taken. */
            close_fillers(listener);
            errno = EAGAIN;
        }
        return fd;
    }
}

unsigned listener_port(const struct listener *listener)
{
    if (listener->address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&listener->address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)&listener->address)->sin_port);
}

void listener_print(const struct listener *listener, char *buffer, size_t size)
{
    char host[64] = "?";
    getnameinfo((const struct sockaddr *)&listener->address, listener->address_size, host, sizeof host, NULL,
                0, NI_NUMERICHOST);
    bool is_v6 = listener->address.ss_family == AF_INET6;
    snprintf(buffer, size, is_v6 ? "[%s]:%u" : "%s:%u", host, listener_port(listener));
}

static bool parse_address(struct listener *listener, const char *text, struct problem *problem)
{
    char host[64] = "";
    const char *colon = strrchr(text, ':');
    if (colon && (size_t)(colon - text) < sizeof host)
        memcpy(host, text, (size_t)(colon - text));
    size_t length = strlen(host);
    if (host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        memmove(host, host + 1, length - 1);
    } else if (strchr(host, ':')) {
        host[0] = '\0';
    }
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    /* getaddrinfo would take a port that is too large, and cut it down. */
    if (!host[0] || !colon[1] || strlen(colon + 1) > 5 || atol(colon + 1) > 65535 ||
        getaddrinfo(host, colon + 1, &hints, &found) != 0) {
        problem_say(problem, "'%.80s' is no address to listen on: say 127.0.0.1:0 or [::1]:8080, in numbers",
                    text);
        return false;
    }
    memcpy(&listener->address, found->ai_addr, found->ai_addrlen);
    listener->address_size = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

/* Binds to the listener's address and learns the port. -1 with errno. */
static int bound_socket(struct listener *listener)
{
    int fd = socket(listener->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    struct sockaddr *address = (struct sockaddr *)&listener->address;
    if (bind(fd, address, listener->address_size) == 0 &&
        getsockname(fd, address, &listener->address_size) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* On a socket that listens already, listen() only changes the backlog: clients in the queue stay. */
static bool start_listening(struct listener *listener, int backlog, struct problem *problem)
{
    if (listen(listener->fd, backlog) == 0) {
        listener->is_listening = true;
        return true;
    }
    problem_say(problem, "cannot listen: %s%s", strerror(errno),
                errno == EADDRINUSE ? "; another program has begun to listen on this port, stop it" : "");
    return false;
}

static void close_fillers(struct listener *listener)
{
    while (listener->filler_count > 0)
        close(listener->fillers[--listener->filler_count]);
}

/* Whether the client of this accepted connection is one of our fillers. */
static bool is_filler(const struct listener *listener, int fd)
{
    struct sockaddr_storage peer = {0};
    socklen_t peer_size = sizeof peer;
    if (listener->filler_count == 0 || getpeername(fd, (struct sockaddr *)&peer, &peer_size) != 0)
        return false;
    for (size_t i = 0; i < listener->filler_count; i++) {
        struct sockaddr_storage own = {0};
        socklen_t own_size = sizeof own;
        getsockname(listener->fillers[i], (struct sockaddr *)&own, &own_size);
        if (own_size == peer_size && memcmp(&own, &peer, own_size) == 0)
            return true;
    }
    return false;
}

/* Waits until the kernel has put one more connection of ours into the queue, or someone else has. */
static bool add_filler(struct listener *listener)
{
    if (listener->filler_count == sizeof listener->fillers / sizeof *listener->fillers) {
        errno = ETIMEDOUT;
        return false;
    }
    int fd = socket(listener->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    listener->fillers[listener->filler_count++] = fd;
    const struct sockaddr *address = (const struct sockaddr *)&listener->address;
    if (connect(fd, address, listener->address_size) == 0)
        return true;
    if (errno != EINPROGRESS)
        return false;
    poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 200);
    return true;
}

static bool is_full(const struct listener *listener)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    getsockopt(listener->fd, IPPROTO_TCP, TCP_INFO, &info, &size);
    /* Of a listening socket these are the clients waiting to be accepted, and the backlog. */
    return info.tcpi_unacked > info.tcpi_sacked;
}
