#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/select.h>
#include <time.h>

#include "scripts.h"
#include "unseen.h"

uint32_t mode_bits(void)
{
    switch (loop) {
    case EDGE:
        return EPOLLET;
    case ONESHOT:
        return EPOLLONESHOT;
    case EDGE_ONESHOT:
        return EPOLLET | EPOLLONESHOT;
    case EXCLUSIVE:
        return EPOLLEXCLUSIVE;
    case EDGE_EXCLUSIVE:
        return EPOLLET | EPOLLEXCLUSIVE;
    default:
        return 0;
    }
}

bool is_epoll(void)
{
    return loop >= LEVEL;
}

bool is_edge(void)
{
    return mode_bits() & (EPOLLET | EPOLLONESHOT);
}

void control(struct connection *connection, int operation)
{
    struct epoll_event event = {.events = connection->events | mode_bits(), .data.u64 = connection->data};
    if (loop == EXCLUSIVE || loop == EDGE_EXCLUSIVE)
        event.events &= ~(uint32_t)EPOLLRDHUP; /* the kernel refuses it together */
    connection->is_armed = connection->is_registered = operation != EPOLL_CTL_DEL;
    /* Who has been told of it just before, and comes to look at that later, finds nothing that it could be about. */
    if (operation == EPOLL_CTL_DEL)
        connection->is_quiet = false;
    for (int i = 0; i < (loop == TWO_EPOLLS ? 2 : 1); i++)
        if (epoll_ctl(epolls[i], operation, connection->fd, &event) != 0)
            say(" ctl%d:%d", operation, errno);
}

void set_data(struct connection *connection)
{
    /* Its number, as most programs do, or what is no number. */
    unsigned index = (unsigned)(connection - connections);
    if (connection->data < 4096)
        connection->data = (uint64_t)connection->fd;
    else
        connection->data = OPAQUE + index * 4096;
}

void add(struct connection *connection)
{
    set_data(connection);
    if (is_epoll())
        control(connection, EPOLL_CTL_ADD);
}

static const sigset_t *some_mask(void)
{
    static sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    return draw(2) ? &mask : NULL;
}

/* Signals interrupt any wait, where there are any. */
static void has_failed(int ready)
{
    was_interrupted = ready < 0 && errno == EINTR && has_threads;
    if (ready < 0 && !was_interrupted)
        say(" wait:%d", errno);
}

static unsigned wait_poll_for(struct connection *wanted, int timeout_ms)
{
    struct pollfd fds[CONNECTIONS];
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    for (unsigned i = 0; i < count; i++)
        fds[i] = (struct pollfd){.fd = connections[i].is_closed ? -1 : connections[i].fd,
                                 .events = (short)connections[i].events};
    const sigset_t *mask = some_mask();
    int ready = loop == POLL ? poll(fds, count, timeout_ms) : ppoll(fds, count, &timeout, mask);
    has_failed(ready);
    return ready > 0 && wanted ? (unsigned short)fds[wanted - connections].revents : 0;
}

static unsigned wait_select_for(struct connection *wanted, int timeout_ms)
{
    fd_set reads, writes;
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    int most = 0;
    for (unsigned i = 0; i < count; i++) {
        struct connection *connection = &connections[i];
        if (connection->is_closed)
            continue;
        if (connection->events & EPOLLIN)
            FD_SET(connection->fd, &reads);
        if (connection->events & EPOLLOUT)
            FD_SET(connection->fd, &writes);
        most = connection->fd > most ? connection->fd : most;
    }
    struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    struct timespec precise = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    const sigset_t *mask = some_mask();
    int ready = loop == SELECT ? select(most + 1, &reads, &writes, NULL, &timeout)
                               : pselect(most + 1, &reads, &writes, NULL, &precise, mask);
    has_failed(ready);
    if (ready <= 0 || !wanted || wanted->is_closed)
        return 0;
    return (FD_ISSET(wanted->fd, &reads) ? EPOLLIN : 0) | (FD_ISSET(wanted->fd, &writes) ? EPOLLOUT : 0);
}

static unsigned wait_epoll_for(struct connection *wanted, int timeout_ms)
{
    struct epoll_event events[CONNECTIONS + 1];
    int most = 1 + (int)draw(CONNECTIONS), epoll = epolls[0], ready;
    unsigned form = draw(3);
    const sigset_t *mask = some_mask();
    if (loop == TWO_EPOLLS)
        epoll = epolls[draw(2)];
    if (loop == NESTED) {
        ready = epoll_wait(outer, events, 1, timeout_ms);
        has_failed(ready);
        if (ready <= 0)
            return 0;
        timeout_ms = 0;
    }
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    if (form == 0)
        ready = epoll_wait(epoll, events, most, timeout_ms);
    else if (form == 1)
        ready = epoll_pwait(epoll, events, most, timeout_ms, mask);
    else
        ready = epoll_pwait2(epoll, events, most, &timeout, mask);
    has_failed(ready);
    unsigned seen = 0;
    for (int i = 0; i < ready; i++) {
        for (unsigned j = 0; j < count; j++) {
            struct connection *connection = &connections[j];
            if (connection->data != events[i].data.u64 || connection->is_closed)
                continue;
            if (mode_bits() & EPOLLONESHOT)
                connection->is_armed = false;
            if (connection == wanted)
                seen = events[i].events;
            else if (is_edge())
                connection->inbox |= events[i].events;
        }
    }
    return seen;
}

/* One wait; what it shows of that connection. NULL: of none that is waited for now. */
unsigned look(struct connection *connection, int timeout_ms)
{
    if (connection && connection->inbox) {
        unsigned seen = connection->inbox;
        connection->inbox = 0;
        return seen;
    }
    if (loop == POLL || loop == PPOLL)
        return wait_poll_for(connection, timeout_ms);
    if (loop == SELECT || loop == PSELECT)
        return wait_select_for(connection, timeout_ms);
    return wait_epoll_for(connection, timeout_ms);
}

void rearm(struct connection *connection)
{
    if (is_epoll() && connection->is_registered && !connection->is_armed)
        control(connection, EPOLL_CTL_MOD);
}

void await_event(struct connection *connection)
{
    uint64_t patience = now_ms() + PATIENCE_MS;
    unsigned seen = 0;
    rearm(connection);
    /* How often it comes back for others, or for nothing, is none of the story. */
    uint64_t before = script_random;
    while (!seen && now_ms() < patience)
        seen = look(connection, 1000);
    script_random = before + 7;
    if (!seen) {
        say(" NOTHING");
        return;
    }
    say(" sees:%x", seen);
}
