/* Threads sleep in epolls of their own when another one sends a request that is never answered.
 *
 *   slept tcp|udp one|shared|several|exclusive ADDRESS
 *
 * ADDRESS (127.x.y.z) is where there is a server that says nothing. `one`: the descriptor is registered with the first of
 * three epolls. `shared`: there is no other, and all three threads sleep in it. `several`: with all of them, under data that
 * are not its number. `exclusive`: the same, EPOLLEXCLUSIVE.
 * Prints for each epoll that it is with what its thread has seen of it (EPOLL...; 0: nothing), what SO_ERROR says then, whoever
 * asks first, and what each shows afterwards. The server makes its system calls itself, so that no hook sees it. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "unseen.h"

#define PATIENCE_MS 2000
#define OPAQUE      UINT64_C(0x7f0000001000)
#define EPOLLS_MAX  3

struct sleeper {
    int epoll;
    pthread_t thread;
    _Atomic pid_t id;
    struct epoll_event event;
};

static struct sleeper sleepers[EPOLLS_MAX];

static void *sleep_in_epoll(void *argument)
{
    struct sleeper *mine = argument;
    mine->id = (pid_t)syscall(SYS_gettid);
    if (epoll_wait(mine->epoll, &mine->event, 1, PATIENCE_MS) != 1)
        mine->event.events = 0;
    return NULL;
}

static int connect_to(int type, const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct pollfd asked = {.fd = fd, .events = POLLOUT};
    if ((connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno != EINPROGRESS) ||
        poll(&asked, 1, PATIENCE_MS) != 1)
        die("connect");
    return fd;
}

int main(int count, char **arguments)
{
    struct sockaddr_in address;
    if (count != 4)
        return 2;
    int type = strcmp(arguments[1], "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM, error = 0;
    bool is_one = strcmp(arguments[2], "one") == 0, is_exclusive = strcmp(arguments[2], "exclusive") == 0,
         is_shared = strcmp(arguments[2], "shared") == 0;
    unsigned epolls = is_one ? 1 : EPOLLS_MAX;
    socklen_t length = sizeof error;
    int server = bind_unseen(type, arguments[3], &address);
    if (type == SOCK_STREAM && syscall(SYS_listen, server, 1) != 0)
        die("listen");
    int fd = connect_to(type, &address);
    for (unsigned i = 0; i < epolls; i++) {
        struct sleeper *sleeper = &sleepers[i];
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = is_one ? (uint64_t)fd : OPAQUE + i};
        if (is_exclusive)
            event.events |= EPOLLEXCLUSIVE;
        bool is_another = !is_shared || i == 0;
        sleeper->epoll = is_another ? epoll_create1(EPOLL_CLOEXEC) : sleepers[0].epoll;
        if ((is_another && epoll_ctl(sleeper->epoll, EPOLL_CTL_ADD, fd, &event) != 0) ||
            pthread_create(&sleeper->thread, NULL, sleep_in_epoll, sleeper) != 0)
            die("begin");
        while (!sleeper->id || !is_asleep(getpid(), sleeper->id))
            ;
    }
    if (send(fd, "question", 8, 0) != 8)
        die("send");
    for (unsigned i = 0; i < epolls; i++) {
        pthread_join(sleepers[i].thread, NULL);
        printf("%x ", sleepers[i].event.events);
    }
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    printf("%d", error);
    for (unsigned i = 0; i < epolls; i++) {
        int ready = epoll_wait(sleepers[i].epoll, &sleepers[i].event, 1, 20);
        printf(" %x", ready > 0 ? sleepers[i].event.events : 0);
    }
    puts("");
    return 0;
}
