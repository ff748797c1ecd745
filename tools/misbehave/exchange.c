#include "exchange.h"

#include "counts.h"

#include <linux/sockios.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define LINGER_NS (2 * SECOND)

/* How often input is read in a row: a client that sends without end must not keep all others waiting, and
 * one that was reset should be counted with all that it left in the receive buffer (6 MB at most). */
#define ROUNDS 128

static void take_input(struct connection *connection);
static void advance(struct connection *connection);
static bool has_to_wait(const struct connection *connection);
static void begin_sending(struct connection *connection);
static void send_more(struct connection *connection);
static void watch_while_sending(struct connection *connection);
static void send_next_piece(struct connection *connection);
static void finish(struct connection *connection);
static void reset_when_delivered(struct connection *connection);
static void close_now(struct connection *connection);
static void linger(struct connection *connection);

static bool cuts_answers(const struct mode *mode)
{
    return mode->kind == MODE_RESET || mode->kind == MODE_CLOSE;
}

void exchange_begin(struct connection *connection)
{
    if (connection->mode->at_accept) {
        begin_sending(connection);
        send_more(connection);
    }
}

void exchange_ready(struct connection *connection, uint32_t events)
{
    if (events & EPOLLIN)
        take_input(connection);
    if (events & EPOLLOUT && connection->phase == PHASE_SENDING) {
        send_more(connection);
        advance(connection);
    }
}

void exchange_due(struct connection *connection)
{
    switch (connection->phase) {
    case PHASE_HOLDING:
        begin_sending(connection);
        send_more(connection);
        advance(connection);
        return;
    case PHASE_SENDING:
        send_next_piece(connection);
        return;
    case PHASE_RESETTING:
        reset_when_delivered(connection);
        return;
    default:
        connection_end(connection);
    }
}

void exchange_received(struct connection *connection, const char *bytes, size_t size)
{
    if (cuts_answers(connection->mode)) {
        if (connection->phase == PHASE_RECEIVING) {
            counts.requests++;
            begin_sending(connection);
            send_more(connection);
        }
        return;
    }
    struct request_progress progress = request_feed(&connection->request, bytes, size);
    counts.requests += progress.begun;
    if (connection->mode->kind == MODE_HANG)
        return;
    connection->unanswered += progress.whole;
    advance(connection);
}

void exchange_release(struct connection *connection)
{
    if (connection->phase != PHASE_HOLDING)
        return;
    timer_cancel(&connection->timer);
    connection->released = connection->unanswered;
    begin_sending(connection);
    send_more(connection);
    advance(connection);
}

static void take_input(struct connection *connection)
{
    for (int round = 0; round < ROUNDS && connection->phase != PHASE_ENDED; round++) {
        ssize_t size = connection_read(connection, connection_input, sizeof connection_input);
        if (size == 0)
            return;
        if (size > 0)
            exchange_received(connection, connection_input, (size_t)size);
        else if (connection->phase == PHASE_SENDING)
            /* It may have shut down its sending side only; whether it is still there, sending will tell. */
            watch_while_sending(connection);
        else
            connection_end(connection);
        if (size < 0)
            return;
    }
}

/* Answers requests in turn, until one has to wait or does not fit into the send buffer. */
static void advance(struct connection *connection)
{
    while (connection->phase == PHASE_RECEIVING && connection->unanswered > 0) {
        connection->unanswered--;
        if (connection->released > 0) {
            connection->released--;
        } else if (has_to_wait(connection)) {
            connection->phase = PHASE_HOLDING;
            if (connection->mode->kind == MODE_ANSWER)
                timer_set(&connection->timer, now_ns() + connection->mode->delay_ms * MILLISECOND);
            return;
        }
        begin_sending(connection);
        send_more(connection);
    }
}

static bool has_to_wait(const struct connection *connection)
{
    return connection->mode->kind == MODE_HOLD || connection->mode->delay_ms > 0;
}

static void begin_sending(struct connection *connection)
{
    const struct mode *mode = connection->mode;
    connection->phase = PHASE_SENDING;
    connection->sent = 0;
    connection->send_size =
        connection->request.is_head && !cuts_answers(mode) ? mode->head_size : mode->send_size;
    connection->allowed = connection->send_size;
    if (mode->kind == MODE_SLOW) {
        struct pace pace = pace_of(mode->rate);
        connection->allowed = mode->head_size;
        connection->timer.at = now_ns();
        pace_next(connection, &pace);
    }
}

/* The answer from byte `at` on, up to the end of a part of it. */
static const char *answer_part(const struct mode *mode, uint64_t at, uint64_t *size)
{
    static char filler[65536];
    if (at < mode->head_size) {
        *size = mode->head_size - at;
        return mode->head + at;
    }
    at -= mode->head_size;
    if (mode->body) {
        *size = mode->body_size - at;
        return mode->body + at;
    }
    if (!filler[0])
        for (size_t i = 0; i < sizeof filler; i++)
            filler[i] = i % 64 == 63 ? '\n' : 'x';
    *size = sizeof filler - at % 64;
    return filler + at % 64;
}

static void send_more(struct connection *connection)
{
    while (connection->sent < connection->allowed) {
        uint64_t size;
        const char *part = answer_part(connection->mode, connection->sent, &size);
        if (size > connection->allowed - connection->sent)
            size = connection->allowed - connection->sent;
        ssize_t count = connection_send(connection, part, (size_t)size);
        if (count < 0) {
            connection_end(connection);
            return;
        }
        if (count == 0) {
            watch_while_sending(connection);
            return;
        }
        connection->sent += (uint64_t)count;
    }
    if (connection->sent == connection->send_size)
        finish(connection);
}

static void watch_while_sending(struct connection *connection)
{
    /* A slow answer goes on when its timer says so, room or not. */
    connection_watch(connection, connection->mode->kind == MODE_SLOW ? 0 : EPOLLOUT);
}

static void send_next_piece(struct connection *connection)
{
    struct pace pace = pace_of(connection->mode->rate);
    connection->allowed += pace.piece_bytes;
    if (connection->allowed > connection->send_size)
        connection->allowed = connection->send_size;
    pace_next(connection, &pace);
    send_more(connection);
}

/* The answer, or as much of it as the mode allows, has been handed to the kernel. */
static void finish(struct connection *connection)
{
    timer_cancel(&connection->timer);
    switch (connection->mode->kind) {
    case MODE_RESET:
        connection->phase = PHASE_RESETTING;
        reset_when_delivered(connection);
        return;
    case MODE_CLOSE:
        close_now(connection);
        return;
    default:
        counts.answered++;
    }
    if (connection->mode->keep_alive && !connection->request.is_endless) {
        connection->phase = PHASE_RECEIVING;
        connection_watch(connection, EPOLLIN);
    } else {
        linger(connection);
    }
}

static void reset_when_delivered(struct connection *connection)
{
    int undelivered = 0;
    /* RST throws away what is still in the send queue; what the client's kernel has acknowledged, the
     * client can read. */
    ioctl(connection->source.fd, SIOCOUTQ, &undelivered);
    if (undelivered > 0) {
        timer_set(&connection->timer, now_ns() + MILLISECOND);
        connection_watch(connection, 0);
        return;
    }
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(connection->source.fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    connection_end(connection);
}

static void close_now(struct connection *connection)
{
    /* Closing with unread input would send RST in place of FIN. What comes later gets RST, as from a
     * server that has closed an idle connection. */
    for (int round = 0; round < ROUNDS; round++)
        if (connection_read(connection, connection_input, sizeof connection_input) <= 0)
            break;
    connection_end(connection);
}

static void linger(struct connection *connection)
{
    connection->phase = PHASE_LINGERING;
    shutdown(connection->source.fd, SHUT_WR);
    timer_set(&connection->timer, now_ns() + LINGER_NS);
    connection_watch(connection, EPOLLIN);
}
