#include "connection.h"

#include "counts.h"
#include "drain.h"
#include "echo.h"
#include "exchange.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

char connection_input[65536];

static struct connection *first;

static void begin(struct connection *connection);
static void ready(struct source *source, uint32_t events);
static void due(struct timer *timer);

void connection_begin(int fd, struct mode *mode)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) {
        close(fd);
        return;
    }
    connection->source.fd = fd;
    connection->source.ready = ready;
    connection->timer.due = due;
    connection->mode = mode_share(mode);
    connection->next = first;
    if (first)
        first->previous = connection;
    first = connection;
    counts.open++;

    /* Otherwise the small pieces of a slow answer wait for each other's acknowledgement. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    connection_watch(connection, EPOLLIN);
    if (connection->phase != PHASE_ENDED)
        begin(connection);
}

void connection_end(struct connection *connection)
{
    if (connection->phase == PHASE_ENDED)
        return;
    connection->phase = PHASE_ENDED;
    timer_cancel(&connection->timer);
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        first = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    free(connection->echo);
    connection->echo = NULL;
    counts.open--;
    mode_release(connection->mode);
    connection->mode = NULL;
    loop_retire(&connection->source, connection);
}

ssize_t connection_read(struct connection *connection, char *buffer, size_t size)
{
    ssize_t count = recv(connection->source.fd, buffer, size, 0);
    if (count > 0)
        counts.bytes += (uint64_t)count;
    else if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    else
        return -1;
    return count;
}

ssize_t connection_send(struct connection *connection, const char *bytes, size_t size)
{
    ssize_t count = send(connection->source.fd, bytes, size, MSG_NOSIGNAL);
    if (count < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM))
        return 0;
    return count;
}

void connection_watch(struct connection *connection, uint32_t events)
{
    if (!loop_watch(&connection->source, events))
        connection_end(connection);
}

void connections_release(void)
{
    struct connection *next;
    for (struct connection *connection = first; connection; connection = next) {
        next = connection->next;
        exchange_release(connection);
    }
}

void connections_end(void)
{
    while (first)
        connection_end(first);
}

struct pace pace_of(uint64_t bytes_per_second)
{
    uint64_t piece = bytes_per_second / 20;
    if (piece == 0)
        piece = 1;
    return (struct pace){.piece_bytes = piece, .interval_ns = piece * SECOND / bytes_per_second};
}

void pace_next(struct connection *connection, const struct pace *pace)
{
    uint64_t now = now_ns();
    uint64_t at = connection->timer.at + pace->interval_ns;
    /* The machine, or this process, stood still: do not make up for it in one burst. */
    if (at + SECOND < now)
        at = now;
    timer_set(&connection->timer, at);
}

static void begin(struct connection *connection)
{
    switch (connection->mode->kind) {
    case MODE_ECHO:
        return;
    case MODE_DRAIN:
        drain_begin(connection);
        return;
    default:
        exchange_begin(connection);
    }
}

static void ready(struct source *source, uint32_t events)
{
    struct connection *connection = OWNER(source, struct connection, source);
    if (connection->mode->kind == MODE_ECHO)
        echo_ready(connection, events);
    else if (connection->mode->kind == MODE_DRAIN && connection->phase == PHASE_RECEIVING)
        drain_ready(connection);
    else
        exchange_ready(connection, events);
    /* Reset, or closed on both sides: there is nobody left to misbehave to. */
    if (events & (EPOLLERR | EPOLLHUP))
        connection_end(connection);
}

static void due(struct timer *timer)
{
    struct connection *connection = OWNER(timer, struct connection, timer);
    if (connection->mode->kind == MODE_DRAIN && connection->phase == PHASE_RECEIVING)
        drain_due(connection);
    else
        exchange_due(connection);
}
