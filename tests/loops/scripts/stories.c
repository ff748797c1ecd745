#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scripts.h"

/* While it is silent. */
static void pending_step(struct connection *connection)
{
    switch (draw(has_threads ? 12 : 11)) {
    case 11:
        be_interrupted();
        break;
    case 0:
        so_error(connection);
        break;
    case 1:
        connect_it(connection);
        break;
    case 2:
        peer_name(connection);
        break;
    case 3:
        send_something(connection);
        break;
    case 4:
        receive_something(connection, true);
        break;
    case 5:
    case 6:
    case 7: {
        int timeout_ms = (int)draw(3);
        rearm(connection);
        say(" looks:%x", look(connection, timeout_ms));
        break;
    }
    case 8:
        move_to_copy(connection);
        break;
    case 9:
        if (!is_epoll())
            break;
        connection->events ^= EPOLLIN;
        if (!(mode_bits() & EPOLLEXCLUSIVE) && draw(2)) {
            control(connection, EPOLL_CTL_MOD);
        } else {
            control(connection, EPOLL_CTL_DEL);
            control(connection, EPOLL_CTL_ADD);
        }
        break;
    default:
        if (connection->story == SILENT && draw(8) == 0 && !is_own)
            fork_child(connection);
    }
}

static void close_it(struct connection *connection)
{
    outcome("close", close(connection->fd));
    connection->is_closed = true;
}

/* It is given up while it is silent. */
static void give_up(struct connection *connection)
{
    struct sockaddr nothing = {.sa_family = AF_UNSPEC};
    switch (is_own ? 0 : draw(3)) {
    case 0:
        break;
    case 1:
        outcome("shutdown", shutdown(connection->fd, (int)draw(3)));
        await_event(connection);
        so_error(connection);
        receive_something(connection, true);
        send_something(connection);
        break;
    case 2:
        outcome("disconnect", connect(connection->fd, &nothing, sizeof nothing));
        so_error(connection);
        peer_name(connection);
    }
    close_it(connection);
}

static int new_socket(const struct connection *connection)
{
    bool is_inet6 = connection->is_mapped || connection->is_v6;
    return socket(is_inet6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
}

/* A new socket to where it is accepted or refused at once: the program goes on as if it were the same one. */
static void begin_anew(struct connection *connection)
{
    if (is_epoll() && connection->is_registered)
        control(connection, EPOLL_CTL_DEL);
    close(connection->fd);
    connection->fd = new_socket(connection);
    if (connect(connection->fd, (struct sockaddr *)&connection->address, connection->length) == 0 ||
        errno != EINPROGRESS)
        say(" anew?");
    add(connection);
}

static void set_address(struct connection *connection, unsigned port)
{
    connection->length = server_address(connection, port, &connection->address);
    if (!connection->is_mapped)
        return;
    struct sockaddr_in v4;
    memcpy(&v4, &connection->address, sizeof v4);
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
    v6.sin6_addr.s6_addr[10] = v6.sin6_addr.s6_addr[11] = 0xff;
    memcpy(v6.sin6_addr.s6_addr + 12, &v4.sin_addr, 4);
    memcpy(&connection->address, &v6, connection->length = sizeof v6);
}

void begin(struct connection *connection)
{
    bool is_second = next(&hidden_random) & 1;
    *connection = (struct connection){
        .listener = -1, .filler = -1, .accepted = -1, .net = NET_PLAIN, .is_closed = true};
    connection->story = (enum story)draw(3);
    unsigned family = draw(6);
    connection->is_mapped = family < 2;
    connection->is_v6 = family == 2 || family == 3;
    connection->events = draw(2) ? EPOLLIN | EPOLLOUT : EPOLLOUT;
    if (draw(3) == 0 && loop != SELECT && loop != PSELECT)
        connection->events |= EPOLLRDHUP;
    connection->data = draw(2) ? 4096 : 0;
    bool is_silent = connection->story != REFUSED;
    if (is_hidden) {
        static const enum net nets[3][2] = {[SILENT] = {NET_PATIENT, NET_PLAIN},
                                            [ACCEPTED] = {NET_EAGER, NET_IMPATIENT},
                                            [REFUSED] = {NET_GIVES_UP, NET_GIVES_UP}};
        connection->net = nets[connection->story][is_second];
        is_silent = connection->net == NET_PLAIN || connection->net == NET_IMPATIENT;
    }
    unsigned *port = port_for(connection);
    connection->listener = bind_server(connection, port);
    if (is_silent)
        make_silent(connection, *port);
    set_address(connection, *port);
    connection->fd = new_socket(connection);
    connection->is_quiet = connection->story != REFUSED;
    if (has_threads && draw(2)) {
        begin_in_thread(connection);
        return;
    }
    connect_it(connection);
    connection->is_closed = false;
    add(connection);
}

/* The server is there. */
static void open_server(struct connection *connection)
{
    if (connection->is_black_hole) {
        raw_close(&connection->filler);
        raw_close(&connection->listener);
        connection->listener = bind_server(connection, port_for(connection));
    }
    raw(syscall(SYS_listen, connection->listener, 16));
    if (!is_hidden)
        begin_anew(connection);
}

static void converse(struct connection *connection)
{
    char got[16] = "";
    accept_it(connection);
    int on = 1;
    syscall(SYS_setsockopt, connection->accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (draw(2))
        so_error(connection);
    for (unsigned times = draw(3); times; times--)
        connect_it(connection);
    if (draw(2))
        peer_name(connection);
    if (draw(3) == 0)
        receive_something(connection, true);
    if (draw(4) == 0)
        move_to_copy(connection);
    connection->events = EPOLLIN;
    if (is_epoll() && connection->is_registered) {
        control(connection, EPOLL_CTL_DEL);
        control(connection, EPOLL_CTL_ADD);
    }
    for (unsigned pieces = draw(4); pieces; pieces--) {
        outcome("send", send(connection->fd, "question", 8, MSG_NOSIGNAL));
        raw_read_all(connection->accepted, 8, got);
        say(":%.8s", got);
        unsigned parts = 1 + draw(3);
        for (unsigned i = 0; i < parts; i++) {
            raw(syscall(SYS_sendto, connection->accepted, "an answer", 3 + i, MSG_NOSIGNAL, NULL, 0));
            raw_await(connection->fd, POLLIN);
            await_event(connection);
            receive_something(connection, false);
            receive_something(connection, false);
        }
    }
    switch (draw(4)) {
    case 0:
        break; /* it stays silent */
    case 1: {
        struct linger none = {1, 0};
        syscall(SYS_setsockopt, connection->accepted, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        raw_close(&connection->accepted);
        raw_await(connection->fd, POLLHUP);
        await_event(connection);
        if (draw(2))
            so_error(connection);
        receive_something(connection, false);
        send_something(connection);
        receive_something(connection, false);
        break;
    }
    case 2:
        raw_close(&connection->accepted);
        raw_await(connection->fd, POLLIN);
        await_event(connection);
        receive_something(connection, false);
        receive_something(connection, false);
        break;
    default:
        outcome("shutdown", shutdown(connection->fd, SHUT_WR));
        raw_read_all(connection->accepted, 1, got);
        send_something(connection);
    }
}

static void suffer(struct connection *connection)
{
    for (unsigned steps = 1 + draw(6); steps; steps--) {
        switch (draw(7)) {
        case 0:
            so_error(connection);
            break;
        case 1:
            send_something(connection);
            break;
        case 2:
            receive_something(connection, false);
            break;
        case 3:
            if (!is_edge())
                await_event(connection);
            break;
        case 4:
            peer_name(connection);
            break;
        case 5:
            so_error(connection);
            outcome("shutdown", shutdown(connection->fd, SHUT_RDWR));
            return;
        default:
            connect_it(connection);
            return;
        }
    }
}

void step(struct connection *connection, unsigned *steps)
{
    if (*steps && connection->story != REFUSED) {
        --*steps;
        say(" |%d", (int)(connection - connections));
        pending_step(connection);
        return;
    }
    say(" |%d", (int)(connection - connections));
    connection->is_quiet = false;
    if (connection->story == SILENT) {
        give_up(connection);
    } else {
        if (connection->story == ACCEPTED)
            open_server(connection);
        await_event(connection);
        if (connection->story == ACCEPTED)
            converse(connection);
        else
            suffer(connection);
        close_it(connection);
    }
    connection->is_over = true;
}
