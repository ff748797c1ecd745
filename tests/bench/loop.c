/* The round trips of one healthy connection in a loop beside others that are refused.
 *
 *     loop ROUND-TRIPS OTHERS    prints the median and the 99th percentile of a round trip in ns, and how many of the
 *                                others are still thought to be connecting when it ends */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int listen_on(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)address, length) != 0 || listen(fd, 1) != 0 ||
        getsockname(fd, (struct sockaddr *)address, &length) != 0)
        die("listen");
    return fd;
}

static _Noreturn void echo(int listener)
{
    int fd = accept(listener, NULL, NULL), one = 1;
    char byte;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    while (recv(fd, &byte, 1, 0) == 1)
        if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
            break;
    _exit(0);
}

static int begin(int epoll, const struct sockaddr_in *address, uint32_t events)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (fd < 0 ||
        (connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno != EINPROGRESS) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("connect");
    return fd;
}

/* How many of the others have ended before `healthy` was ready. */
static long wait_for(int epoll, int healthy)
{
    struct epoll_event events[64];
    long ended = 0;
    for (int is_ready = 0; !is_ready;) {
        int count = epoll_wait(epoll, events, 64, 10000);
        if (count <= 0)
            die("epoll_wait");
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == healthy) {
                is_ready = 1;
            } else {
                close(events[i].data.fd);
                ended++;
            }
        }
    }
    return ended;
}

static int by_size(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv)
{
    long trips = argc > 2 ? atol(argv[1]) : 0, others = argc > 2 ? atol(argv[2]) : 0;
    uint64_t *took = calloc((size_t)trips + 1, sizeof *took);
    if (trips <= 0 || !took) {
        fprintf(stderr, "usage: loop ROUND-TRIPS OTHERS\n");
        return 2;
    }
    struct sockaddr_in here, nobody;
    int listener = listen_on(&here);
    close(listen_on(&nobody));
    pid_t server = fork();
    if (server == 0)
        echo(listener);
    int epoll = epoll_create1(0), healthy = begin(epoll, &here, EPOLLOUT), one = 1;
    wait_for(epoll, healthy);
    setsockopt(healthy, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event readable = {.events = EPOLLIN, .data.fd = healthy};
    epoll_ctl(epoll, EPOLL_CTL_MOD, healthy, &readable);
    for (long i = 0; i < others; i++)
        begin(epoll, &nobody, EPOLLOUT);
    long left = others;
    for (long i = 0; i < trips; i++) {
        char byte = 'x';
        uint64_t began = now_ns();
        if (send(healthy, &byte, 1, MSG_NOSIGNAL) != 1)
            die("send");
        left -= wait_for(epoll, healthy);
        if (recv(healthy, &byte, 1, 0) != 1)
            die("recv");
        took[i] = now_ns() - began;
    }
    qsort(took, (size_t)trips, sizeof *took, by_size);
    printf("%llu %llu %ld\n", (unsigned long long)took[trips / 2], (unsigned long long)took[trips * 99 / 100],
           left);
    close(healthy);
    waitpid(server, NULL, 0);
    return 0;
}
