/* What a proxy does: a session has two descriptors, and both are registered under its address.
 *
 *   session level|edge|once|exclusive early|late ADDRESS
 *   session level|edge|once|exclusive pair ADDRESS
 *
 * ADDRESS (127.x.y.z) is where connects are refused for OPEN_MS, and not from then on. The client sends REQUEST_MS after the
 * upstream began to connect. Prints what the first event is (EPOLL...) that shows the client's request, whether that was while
 * the upstream was not connected, then what the first one is that shows the upstream's end, with SO_ERROR, and whether the
 * epoll has shown an end of it that was none. `early`: the client is registered before anything connects. `pair`: both
 * descriptors connect; prints SO_ERROR of each at the first event that shows a failure or a connection, and whether any event
 * showed neither. The server and the client make their system calls themselves, so that no hook sees them. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MS  100
#define OPEN_MS     400
#define PATIENCE_MS 5000

enum mode { LEVEL, EDGE, ONCE, EXCLUSIVE, MODES };
static const uint32_t modes[MODES] = {0, EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE};

static enum mode mode;
static int epoll, server, client_ends[2];
static struct sockaddr_in address = {.sin_family = AF_INET};
static char session; /* its address is what counts */

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static void pause_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    syscall(SYS_nanosleep, &time, NULL);
}

static void *request_and_open(void *unused)
{
    pause_ms(REQUEST_MS);
    if (syscall(SYS_write, client_ends[1], "request", 7) != 7)
        die("request");
    pause_ms(OPEN_MS - REQUEST_MS);
    if (syscall(SYS_listen, server, 8) != 0)
        die("listen");
    return unused;
}

static void bind_server(const char *where)
{
    socklen_t length = sizeof address;
    server = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, where, &address.sin_addr) != 1 ||
        syscall(SYS_bind, server, &address, length) != 0 ||
        syscall(SYS_getsockname, server, &address, &length) != 0)
        die(where);
}

static void add(int fd, uint32_t events)
{
    struct epoll_event event = {.events = events | modes[mode], .data.ptr = &session};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl");
}

/* What reports once is armed again, as it has been seen to. */
static void arm(int fd, uint32_t events)
{
    struct epoll_event event = {.events = events | modes[mode], .data.ptr = &session};
    if (mode == ONCE && epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) != 0)
        die("epoll_ctl");
}

static int begin_connect(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS))
        die("connect");
    return fd;
}

static bool is_connected(int fd)
{
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    return getpeername(fd, (struct sockaddr *)&peer, &length) == 0;
}

static int so_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void serve_session(bool is_early)
{
    unsigned false_ends = 0, request_events = 0, end_events = 0;
    bool has_request = false, was_waiting = false, has_ended = false;
    int error = 0;
    if (is_early)
        add(client_ends[0], EPOLLIN);
    int upstream = begin_connect();
    add(upstream, EPOLLOUT);
    if (!is_early)
        add(client_ends[0], EPOLLIN);
    for (uint64_t until_ms = now_ms() + PATIENCE_MS; now_ms() < until_ms && !(has_request && has_ended);) {
        struct epoll_event event;
        char bytes[8];
        if (epoll_wait(epoll, &event, 1, PATIENCE_MS) != 1)
            break;
        if (!has_request && recv(client_ends[0], bytes, sizeof bytes, MSG_DONTWAIT) == 7) {
            has_request = true;
            request_events = event.events;
            was_waiting = !is_connected(upstream);
            arm(client_ends[0], EPOLLIN);
        }
        if (event.events & (EPOLLOUT | EPOLLERR | EPOLLHUP) && !has_ended) {
            error = so_error(upstream);
            has_ended = error || is_connected(upstream);
            false_ends += !has_ended;
            end_events = event.events;
            if (!has_ended)
                arm(upstream, EPOLLOUT);
            else if (epoll_ctl(epoll, EPOLL_CTL_DEL, upstream, NULL) != 0)
                die("epoll_ctl");
        }
    }
    printf("%x %s %x %d %u\n", request_events, was_waiting ? "meanwhile" : "-", end_events, error,
           false_ends);
}

static void connect_both(void)
{
    int fds[2], errors[2] = {0};
    bool has_ended[2] = {false};
    unsigned false_ends = 0;
    for (unsigned i = 0; i < 2; i++) {
        fds[i] = begin_connect();
        add(fds[i], EPOLLOUT);
    }
    while (!has_ended[0] || !has_ended[1]) {
        struct epoll_event event;
        if (epoll_wait(epoll, &event, 1, PATIENCE_MS) != 1)
            break;
        bool is_seen = false;
        for (unsigned i = 0; i < 2; i++) {
            if (has_ended[i])
                continue;
            errors[i] = so_error(fds[i]);
            has_ended[i] = errors[i] || is_connected(fds[i]);
            is_seen |= has_ended[i];
            if (has_ended[i])
                epoll_ctl(epoll, EPOLL_CTL_DEL, fds[i], NULL);
            else
                arm(fds[i], EPOLLOUT);
        }
        false_ends += !is_seen;
    }
    printf("%d %d %u\n", has_ended[0] ? errors[0] : -1, has_ended[1] ? errors[1] : -1, false_ends);
}

int main(int count, char **arguments)
{
    static const char *const names[MODES] = {"level", "edge", "once", "exclusive"};
    unsigned long *made = dlsym(RTLD_DEFAULT, "waits_made");
    pthread_t thread;
    while (count == 4 && mode < MODES && strcmp(arguments[1], names[mode]) != 0)
        mode++;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (count != 4 || mode == MODES || epoll < 0 || !made ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, client_ends) != 0)
        return 2;
    bind_server(arguments[3]);
    if (pthread_create(&thread, NULL, request_and_open, NULL) != 0)
        die("thread");
    if (strcmp(arguments[2], "pair") == 0)
        connect_both();
    else
        serve_session(strcmp(arguments[2], "early") == 0);
    pthread_join(thread, NULL);
    fprintf(stderr, "%lu\n", *made);
    return 0;
}
