/* An epoll within another wait: how often that wakes up for nothing while a connect is tried again and again.
 *
 *   nested level|edge|oneshot|poll|select level|edge|oneshot|exclusive ADDRESS OPEN_MS
 *
 * What waits, and how the connection is registered with the epoll inside. ADDRESS (127.x.y.z) is where connects are refused
 * until OPEN_MS have passed; the server makes its system calls itself, so that no hook sees it. Prints what the inner epoll
 * shows at last (EPOLL...), what SO_ERROR says, how often the outer wait has reported an epoll that then had nothing to show, and
 * how many ms it has taken. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "unseen.h"

#define PATIENCE_MS 10000
#define TICK_MS     20

enum way {
    LEVEL,
    EDGE,
    ONESHOT,
    EXCLUSIVE,
    POLL,
    SELECT,
    WAYS
}; /* no epoll can be exclusive in another one */
static const char *const names[WAYS] = {"level", "edge", "oneshot", "exclusive", "poll", "select"};
static const uint32_t modes[WAYS] = {
    [EDGE] = EPOLLET, [ONESHOT] = EPOLLONESHOT, [EXCLUSIVE] = EPOLLEXCLUSIVE};

static enum way outer_way, inner_way;
static int outer, inner;

static enum way way_of(const char *name)
{
    enum way way = 0;
    while (way < WAYS && strcmp(name, names[way]) != 0)
        way++;
    return way;
}

static bool wait_outside(void)
{
    struct pollfd asked = {.fd = inner, .events = POLLIN};
    struct timeval time = {.tv_usec = TICK_MS * 1000};
    struct epoll_event event;
    fd_set reads;
    FD_ZERO(&reads);
    FD_SET(inner, &reads);
    if (outer_way == POLL)
        return poll(&asked, 1, TICK_MS) > 0;
    if (outer_way == SELECT)
        return select(inner + 1, &reads, NULL, NULL, &time) > 0;
    bool is_ready = epoll_wait(outer, &event, 1, TICK_MS) > 0;
    event = (struct epoll_event){.events = EPOLLIN | EPOLLONESHOT, .data.fd = inner};
    if (is_ready && outer_way == ONESHOT && epoll_ctl(outer, EPOLL_CTL_MOD, inner, &event) != 0)
        die("rearm");
    return is_ready;
}

int main(int count, char **arguments)
{
    struct sockaddr_in address;
    if (count != 5 || (outer_way = way_of(arguments[1])) == WAYS ||
        (inner_way = way_of(arguments[2])) >= POLL)
        return 2;
    uint64_t began = now_ms(), open_ms = began + (uint64_t)atoi(arguments[4]);
    int server = bind_unseen(SOCK_STREAM, arguments[3], &address), error = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    outer = epoll_create1(EPOLL_CLOEXEC);
    inner = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event outside = {.events = EPOLLIN | modes[outer_way], .data.fd = inner};
    struct epoll_event inside = {.events = EPOLLIN | EPOLLOUT | modes[inner_way], .data.fd = fd};
    if (outer_way < POLL && epoll_ctl(outer, EPOLL_CTL_ADD, inner, &outside) != 0)
        die("begin");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno != EINPROGRESS ||
        epoll_ctl(inner, EPOLL_CTL_ADD, fd, &inside) != 0)
        die("connect");
    unsigned in_vain = 0, seen = 0;
    for (uint64_t now = began; !seen && now < began + PATIENCE_MS; now = now_ms()) {
        if (now >= open_ms && syscall(SYS_listen, server, 1) == 0)
            open_ms = UINT64_MAX;
        if (!wait_outside())
            continue;
        struct epoll_event event;
        seen = epoll_wait(inner, &event, 1, 0) > 0 ? event.events : 0;
        in_vain += !seen;
    }
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    printf("%x %d %u %u\n", seen, error, in_vain, (unsigned)(now_ms() - began));
    return 0;
}
