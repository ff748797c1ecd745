#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "scripts.h"

/* Each process has IPv4 addresses of its own, so that no two of them meet at a port. */
static struct sockaddr_in address_in(enum net net, unsigned slot, unsigned port)
{
    uint32_t host = ((uint32_t)getpid() & 0x3fff) << 2 | (slot + 1);
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(127u << 24 | (70u + net) << 16 | host)};
}

static unsigned port_of(const struct sockaddr_storage *address)
{
    return ntohs(((const struct sockaddr_in *)address)->sin_port); /* where it is in IPv6 too */
}

static int server_socket(const struct connection *connection)
{
    return raw(syscall(SYS_socket, connection->is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

int raw(long result)
{
    if (result < 0) {
        perror("server");
        fprintf(stderr, "  after %s\n", line);
        exit(2);
    }
    return (int)result;
}

void raw_close(int *fd)
{
    if (*fd >= 0)
        syscall(SYS_close, *fd);
    *fd = -1;
}

/* Waits until the kernel says so of a descriptor, whoever has it. */
bool raw_await(int fd, short events)
{
    struct pollfd asked = {.fd = fd, .events = events};
    struct timespec patience = {20, 0}; /* the kernel leaves in it what is left */
    long ready;
    do
        ready = syscall(SYS_ppoll, &asked, 1, &patience, NULL, 8);
    while (ready < 0 && errno == EINTR);
    return ready > 0;
}

socklen_t server_address(const struct connection *connection, unsigned port, struct sockaddr_storage *address)
{
    unsigned slot = (unsigned)(connection - connections);
    memset(address, 0, sizeof *address);
    if (!connection->is_v6) {
        struct sockaddr_in v4 = address_in(connection->net, slot, port);
        memcpy(address, &v4, sizeof v4);
        return sizeof v4;
    }
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    v6.sin6_addr.s6_addr[0] = 0xfd;
    v6.sin6_addr.s6_addr[1] = (uint8_t)(0x70 + connection->net);
    v6.sin6_addr.s6_addr[15] = (uint8_t)(slot + 1);
    memcpy(address, &v6, sizeof v6);
    return sizeof v6;
}

/* One that is bound: whoever connects is refused until it listens. */
int bind_server(const struct connection *connection, unsigned *port)
{
    int fd = server_socket(connection), on = 1;
    syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_storage address;
    socklen_t size = server_address(connection, *port, &address);
    raw(syscall(SYS_bind, fd, &address, size));
    size = sizeof address;
    syscall(SYS_getsockname, fd, &address, &size);
    *port = port_of(&address);
    return fd;
}

/* One that does not answer: its queue is full. */
void make_silent(struct connection *connection, unsigned port)
{
    struct sockaddr_storage address;
    socklen_t size = server_address(connection, port, &address);
    raw(syscall(SYS_listen, connection->listener, 0));
    connection->filler = server_socket(connection);
    raw(syscall(SYS_connect, connection->filler, &address, size));
    raw_await(connection->listener, POLLIN); /* connected, it need not be in the queue yet */
    connection->is_black_hole = true;
}

void raw_read_all(int fd, size_t size, char *got)
{
    for (size_t done = 0; done < size;) {
        raw_await(fd, POLLIN);
        ssize_t more = syscall(SYS_recvfrom, fd, got + done, size - done, MSG_DONTWAIT, NULL, NULL);
        if (more <= 0)
            break;
        done += (size_t)more;
    }
}

static unsigned ports[2][8][CONNECTIONS];

unsigned *port_for(const struct connection *connection)
{
    return &ports[connection->is_v6][connection->net][connection - connections];
}

/* An attempt that was given up may have got through at the last moment: that one is not it. */
void accept_it(struct connection *connection)
{
    struct sockaddr_in6 own = {0}, peer = {0};
    socklen_t size = sizeof own;
    raw(syscall(SYS_getsockname, connection->fd, &own, &size));
    do {
        raw_close(&connection->accepted);
        if (!raw_await(connection->listener, POLLIN))
            raw(-1);
        size = sizeof peer;
        connection->accepted = raw(syscall(SYS_accept4, connection->listener, &peer, &size, SOCK_CLOEXEC));
    } while (peer.sin6_port != own.sin6_port);
}
