#include "server.h"

#include "connection.h"
#include "counts.h"
#include "loop.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>

static struct listener listener = {.fd = -1};
static struct source source; /* the listener's descriptor, watched while clients are let in */
static struct mode *mode;
static size_t most_connections;

static void take_clients(struct source *source, uint32_t events);
static void come_up(struct timer *timer);
static void go_on(struct timer *timer);

static struct timer until_up = {.due = come_up};
static struct timer until_room = {.due = go_on};

bool server_open(const char *address, size_t most, struct problem *problem)
{
    most_connections = most;
    if (!listener_open(&listener, address, problem))
        return false;
    source.fd = listener.fd;
    source.ready = take_clients;
    return true;
}

void server_close(void)
{
    timer_cancel(&until_up);
    timer_cancel(&until_room);
    loop_forget(&source);
    listener_close(&listener);
    mode_release(mode);
    mode = NULL;
}

const struct listener *server_listener(void)
{
    return &listener;
}

static void refuse(void)
{
    /* A socket that does not listen reports hang-up without end. */
    loop_forget(&source);
    timer_cancel(&until_room);
    listener_refuse(&listener);
}

static bool let_in(struct problem *problem)
{
    if (!listener_accept(&listener, problem))
        return false;
    if (loop_watch(&source, EPOLLIN))
        return true;
    problem_say(problem, "the kernel has no memory for watching the port");
    return false;
}

static bool blackhole(struct problem *problem)
{
    loop_forget(&source);
    timer_cancel(&until_room);
    return listener_blackhole(&listener, problem);
}

static bool apply(enum mode_kind kind, struct problem *problem)
{
    bool is_good = true;
    if (kind == MODE_REFUSE)
        refuse();
    else
        is_good = kind == MODE_BLACKHOLE ? blackhole(problem) : let_in(problem);
    if (!is_good)
        refuse();
    return is_good;
}

bool server_switch(struct mode *next, struct problem *problem)
{
    /* Clients that have come so far get what was in force when they came. */
    if (source.is_watched)
        take_clients(&source, EPOLLIN);
    timer_cancel(&until_up);
    mode_release(mode);
    mode = next;
    if (next->up_after_ms == 0)
        return apply(next->kind, problem);
    refuse();
    timer_set(&until_up, now_ns() + next->up_after_ms * MILLISECOND);
    return true;
}

static void come_up(struct timer *timer)
{
    (void)timer;
    struct problem problem;
    if (!apply(mode->kind, &problem))
        fprintf(stderr, "misbehave: up-after: %s\n", problem.text);
}

static void take_clients(struct source *watched, uint32_t events)
{
    (void)events;
    while (counts.open < most_connections) {
        int fd = listener_take(&listener);
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0)
            break;
        counts.accepted++;
        connection_begin(fd, mode);
    }
    /* No room for more, here or in the machine: leave them in the backlog for a moment. */
    loop_forget(watched);
    timer_set(&until_room, now_ns() + 20 * MILLISECOND);
}

static void go_on(struct timer *timer)
{
    if (!loop_watch(&source, EPOLLIN))
        timer_set(timer, now_ns() + 20 * MILLISECOND);
}
