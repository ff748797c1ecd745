#include "drain.h"

#include "exchange.h"

#include <sys/epoll.h>
#include <sys/socket.h>

void drain_begin(struct connection *connection)
{
    /* Otherwise the kernel takes megabytes in our name before the client notices that nobody reads. */
    setsockopt(connection->source.fd, SOL_SOCKET, SO_RCVBUF, &(int){65536}, sizeof(int));
}

void drain_ready(struct connection *connection)
{
    /* Input after a pause: the pace starts anew here. Until the next piece is due, nothing is to wake us. */
    connection_watch(connection, 0);
    if (connection->phase == PHASE_ENDED || connection->timer.place)
        return;
    connection->timer.at = now_ns();
    drain_due(connection);
}

void drain_due(struct connection *connection)
{
    struct pace pace = pace_of(connection->mode->rate);
    uint64_t left = pace.piece_bytes;
    while (left > 0) {
        size_t most = left < sizeof connection_input ? (size_t)left : sizeof connection_input;
        ssize_t size = connection_read(connection, connection_input, most);
        if (size < 0) {
            connection_end(connection);
            return;
        }
        if (size == 0)
            break;
        left -= (uint64_t)size;
        exchange_received(connection, connection_input, (size_t)size);
        if (connection->phase != PHASE_RECEIVING)
            return;
    }
    if (left == pace.piece_bytes)
        connection_watch(connection, EPOLLIN);
    else
        pace_next(connection, &pace);
}
