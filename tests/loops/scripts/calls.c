#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scripts.h"

#define IPV6_HOPS 73 /* IPV6_MINHOPCOUNT of linux/in6.h, which cannot be included beside netinet/in.h */

void outcome(const char *what, long result)
{
    if (result < 0)
        say(" %s!%d", what, errno);
    else
        say(" %s=%ld", what, result);
}

void so_error(struct connection *connection)
{
    int error = -1;
    socklen_t size = sizeof error;
    outcome("so_error", getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size));
    say(":%d", error);
}

void connect_it(struct connection *connection)
{
    outcome("connect", connect(connection->fd, (struct sockaddr *)&connection->address, connection->length));
}

void send_something(struct connection *connection)
{
    char data[] = "question";
    struct iovec parts[2] = {{data, 3}, {data + 3, 5}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    int fd = connection->fd;
    switch (draw(6)) {
    case 0:
        outcome("send", send(fd, data, 8, MSG_NOSIGNAL));
        break;
    case 1:
        outcome("write", write(fd, data, 8));
        break;
    case 2:
        outcome("writev", writev(fd, parts, 2));
        break;
    case 3:
        outcome("sendmsg", sendmsg(fd, &message, MSG_DONTWAIT));
        break;
    case 4:
        outcome("sendto", sendto(fd, data, 8, 0, NULL, 0));
        break;
    default:
        outcome("send", send(fd, data, 8, MSG_DONTWAIT | MSG_MORE));
    }
}

void receive_something(struct connection *connection, bool may_peek)
{
    char data[64] = "";
    struct iovec parts[2] = {{data, 5}, {data + 5, 50}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    int fd = connection->fd;
    ssize_t got;
    switch (draw(may_peek ? 7 : 5)) {
    case 0:
        outcome("recv", got = recv(fd, data, sizeof data, 0));
        break;
    case 1:
        outcome("read", got = read(fd, data, sizeof data));
        break;
    case 2:
        outcome("readv", got = readv(fd, parts, 2));
        break;
    case 3:
        outcome("recvmsg", got = recvmsg(fd, &message, MSG_DONTWAIT));
        break;
    case 4:
        outcome("recvfrom", got = recvfrom(fd, data, sizeof data, MSG_DONTWAIT, NULL, NULL));
        break;
    case 5:
        outcome("peek", got = recv(fd, data, sizeof data, MSG_PEEK));
        break;
    default:
        outcome("waitall", got = recv(fd, data, 4, MSG_WAITALL | MSG_DONTWAIT));
    }
    if (got > 0)
        say(":%.*s", (int)got, data);
}

void peer_name(struct connection *connection)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    int result = getpeername(connection->fd, (struct sockaddr *)&peer, &size);
    outcome("peer", result);
    if (result == 0)
        say(":%d", size == connection->length && memcmp(&peer, &connection->address, size) == 0);
}

/* Another number takes over. Its registrations lead to the same socket, under the old number. */
void move_to_copy(struct connection *connection)
{
    if (is_epoll()) {
        control(connection, EPOLL_CTL_DEL);
        int copy = dup(connection->fd);
        close(connection->fd);
        connection->fd = copy;
        add(connection);
        return;
    }
    int copy = fcntl(connection->fd, F_DUPFD_CLOEXEC, 0);
    close(connection->fd);
    connection->fd = copy;
}

static bool is_parked(const struct connection *connection)
{
    int hops = 0;
    socklen_t size = sizeof hops;
    return syscall(SYS_getsockopt, connection->fd, connection->is_v6 ? IPPROTO_IPV6 : IPPROTO_IP,
                   connection->is_v6 ? IPV6_HOPS : IP_MINTTL, &hops, &size) == 0 &&
           hops == 255;
}

/* A child sees the descriptor as it is. */
void fork_child(struct connection *connection)
{
    uint64_t before_waits = script_random;
    if (is_hidden && !connection->is_black_hole)
        for (unsigned tries = 0; tries < 1000 && !is_parked(connection); tries++)
            if (look(connection, 1))
                say(" SEEN");
    script_random = before_waits;
    size_t before = length;
    int pipes[2];
    if (pipe(pipes) != 0)
        exit(2);
    pid_t child = fork();
    if (child == 0) {
        so_error(connection);
        send_something(connection);
        receive_something(connection, true);
        connect_it(connection);
        struct pollfd asked = {.fd = connection->fd, .events = POLLIN | POLLOUT};
        outcome("poll", poll(&asked, 1, 1));
        _exit(write(pipes[1], line + before, length - before) < 0);
    }
    close(pipes[1]);
    char said[1024];
    for (ssize_t got; (got = read(pipes[0], said, sizeof said)) > 0;)
        say(" child{%.*s}", (int)got, said);
    close(pipes[0]);
    waitpid(child, NULL, 0);
}
