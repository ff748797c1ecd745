#include "echo.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

static void send_kept(struct connection *connection);
static void keep(struct connection *connection, const char *bytes, size_t size);

void echo_ready(struct connection *connection, uint32_t events)
{
    if (connection->echo) {
        if (events & EPOLLOUT)
            send_kept(connection);
        return;
    }
    ssize_t size = connection_read(connection, connection_input, sizeof connection_input);
    if (size < 0)
        connection_end(connection);
    if (size <= 0)
        return;
    ssize_t sent = connection_send(connection, connection_input, (size_t)size);
    if (sent < 0)
        connection_end(connection);
    else if (sent < size)
        keep(connection, connection_input + sent, (size_t)(size - sent));
}

static void keep(struct connection *connection, const char *bytes, size_t size)
{
    connection->echo = malloc(size);
    if (!connection->echo) {
        connection_end(connection);
        return;
    }
    memcpy(connection->echo, bytes, size);
    connection->echo_size = size;
    connection->echo_sent = 0;
    connection_watch(connection, EPOLLOUT);
}

static void send_kept(struct connection *connection)
{
    ssize_t sent = connection_send(connection, connection->echo + connection->echo_sent,
                                   connection->echo_size - connection->echo_sent);
    if (sent < 0) {
        connection_end(connection);
        return;
    }
    connection->echo_sent += (size_t)sent;
    if (connection->echo_sent < connection->echo_size)
        return;
    free(connection->echo);
    connection->echo = NULL;
    connection_watch(connection, EPOLLIN);
}
