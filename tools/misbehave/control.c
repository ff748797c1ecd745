#include "control.h"

#include "command.h"
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* One who has connected to the control socket. Commands are dealt with one after the other: no further one
 * as long as the present one waits, or its answer has not been taken. */
struct client {
    struct source source;
    struct timer timer;
    struct client *next, *previous;
    struct command_wait wait;
    char line[8192];
    size_t size;
    bool is_too_long; /* the beginning of the present line has been thrown away */
    bool is_at_end;   /* it sends no more; it may still read */
    char answer[COMMAND_ANSWER_SIZE];
    size_t answer_size;
};

static struct source source = {.fd = -1};
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static struct client *first;
static size_t client_count;

static bool replace_stale(int fd);
static void accept_clients(struct source *source, uint32_t events);
static void end_client(struct client *client);
static void client_ready(struct source *source, uint32_t events);
static void wait_is_over(struct timer *timer);
static void advance(struct client *client);

bool control_open(const char *path, struct problem *problem)
{
    if (strlen(path) >= sizeof address.sun_path) {
        problem_say(problem, "--control: the path is longer than %zu bytes, take a shorter one",
                    sizeof address.sun_path - 1);
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, path);
    mode_t mask = umask(077);
    bool is_bound =
        fd >= 0 && (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 || replace_stale(fd));
    int error = errno;
    umask(mask);
    source.ready = accept_clients;
    if (is_bound) {
        source.fd = fd;
        if (listen(fd, 64) == 0 && loop_watch(&source, EPOLLIN))
            return true;
        error = errno;
        control_close();
    } else if (fd >= 0) {
        close(fd);
    }
    problem_say(problem,
                "cannot make the control socket %.110s: %s; give a path in a directory of yours where there "
                "is nothing yet",
                path, strerror(error));
    return false;
}

void control_close(void)
{
    while (first)
        end_client(first);
    if (source.fd < 0)
        return;
    loop_forget(&source);
    close(source.fd);
    source.fd = -1;
    unlink(address.sun_path);
}

void control_check_waits(void)
{
    struct client *next;
    for (struct client *client = first; client; client = next) {
        next = client->next;
        if (client->wait.count && command_wait_is_over(&client->wait)) {
            client->wait.count = NULL;
            client->answer_size = command_answer(client->answer, "ok");
            advance(client);
        }
    }
}

/* Binds in place of a socket on which nobody listens. */
static bool replace_stale(int fd)
{
    if (errno != EADDRINUSE)
        return false;
    struct stat status;
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_stale = probe >= 0 && lstat(address.sun_path, &status) == 0 && S_ISSOCK(status.st_mode) &&
                    connect(probe, (struct sockaddr *)&address, sizeof address) != 0 && errno == ECONNREFUSED;
    if (probe >= 0)
        close(probe);
    if (is_stale && unlink(address.sun_path) == 0)
        return bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    errno = EADDRINUSE;
    return false;
}

static void accept_clients(struct source *listening, uint32_t events)
{
    (void)events;
    if (client_count == CONTROL_MOST_CLIENTS) {
        loop_forget(listening);
        return;
    }
    int fd = accept4(listening->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct client *client = calloc(1, sizeof *client);
    if (!client) {
        close(fd);
        return;
    }
    client->source.fd = fd;
    client->source.ready = client_ready;
    client->timer.due = wait_is_over;
    client->next = first;
    if (first)
        first->previous = client;
    first = client;
    client_count++;
    if (!loop_watch(&client->source, EPOLLIN))
        end_client(client);
}

static void end_client(struct client *client)
{
    if (client->source.fd < 0)
        return;
    timer_cancel(&client->timer);
    if (client->previous)
        client->previous->next = client->next;
    else
        first = client->next;
    if (client->next)
        client->next->previous = client->previous;
    client_count--;
    loop_retire(&client->source, client);
    loop_watch(&source, EPOLLIN);
}

static void read_commands(struct client *client)
{
    ssize_t size =
        recv(client->source.fd, client->line + client->size, sizeof client->line - client->size, 0);
    if (size > 0)
        client->size += (size_t)size;
    else if (size == 0)
        client->is_at_end = true;
    else if (errno != EAGAIN && errno != EINTR)
        end_client(client);
}

static void client_ready(struct source *ready, uint32_t events)
{
    struct client *client = OWNER(ready, struct client, source);
    if (events & EPOLLIN)
        read_commands(client);
    else if (events & (EPOLLERR | EPOLLHUP))
        end_client(client);
    advance(client);
}

static void wait_is_over(struct timer *timer)
{
    struct client *client = OWNER(timer, struct client, timer);
    client->wait.count = NULL;
    client->answer_size = command_answer(client->answer, "timeout");
    advance(client);
}

/* Sends what there is of an answer. Returns whether it is gone. */
static bool send_answer(struct client *client)
{
    if (client->answer_size == 0)
        return true;
    ssize_t sent = send(client->source.fd, client->answer, client->answer_size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        /* It did not stay for the answer; what else it had said is obeyed all the same. */
        client->answer_size = 0;
    } else if (sent > 0) {
        client->answer_size -= (size_t)sent;
        memmove(client->answer, client->answer + sent, client->answer_size);
    }
    return client->answer_size == 0;
}

/* Takes the next line out of the buffer and obeys it. false: there is none. */
static bool obey_line(struct client *client)
{
    char *end = memchr(client->line, '\n', client->size);
    if (!end && client->size == sizeof client->line) {
        client->is_too_long = true;
        client->size = 0;
    }
    if (!end)
        return false;
    *end = '\0';
    if (client->is_too_long)
        client->answer_size = command_answer(client->answer, "error: the line is longer than 8191 bytes");
    else
        client->answer_size = command_obey(client->line, client->answer, &client->wait);
    client->is_too_long = false;
    client->size -= (size_t)(end + 1 - client->line);
    memmove(client->line, end + 1, client->size);
    if (client->wait.count) {
        client->answer_size = 0;
        timer_set(&client->timer, client->wait.until);
    }
    return true;
}

static void advance(struct client *client)
{
    while (client->source.fd >= 0) {
        if (!client->wait.count)
            timer_cancel(&client->timer);
        bool is_sent = send_answer(client);
        if (is_sent && !client->wait.count && obey_line(client))
            continue;
        if (is_sent && !client->wait.count && client->is_at_end) {
            end_client(client);
            return;
        }
        bool has_room = client->size < sizeof client->line && !client->is_at_end;
        if (!loop_watch(&client->source, (is_sent ? 0 : EPOLLOUT) | (has_room ? EPOLLIN : 0)))
            end_client(client);
        return;
    }
}
