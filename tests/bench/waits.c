/* Waits, for whoever counts instructions, system calls or time. Rules are in force from its first connect on.
 *
 *     waits poll|epoll|poll-threads|epoll-threads COUNT [for-ever|a-while]
 *                                 COUNT waits with nothing pending; -threads: while another thread is there. They find
 *                                 nothing and have no time; otherwise they find something at once
 *     waits pending COUNT OPEN    the same in an epoll with OPEN attempts in flight: prints the ns of the best batch
 *     waits park COUNT            refused attempts that are parked and begun anew, COUNT of them: prints the CPU time of each
 *                                 in ns */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct sockaddr_in listen_on(int backlog)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&address, length) != 0 || (backlog >= 0 && listen(fd, backlog) != 0) ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        die("listen");
    if (backlog < 0)
        close(fd); /* nobody is there any more */
    return address;
}

static int begin(struct sockaddr_in address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS))
        die("connect");
    return fd;
}

static double now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void *sleep_for_ever(void *nothing)
{
    for (;;)
        pause();
    return nothing;
}

static int epoll_of(const int *fds, long count)
{
    int epoll = epoll_create1(0);
    for (long i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLOUT, .data.fd = fds[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) != 0)
            die("epoll_ctl");
    }
    return epoll;
}

static void pending(long count, long open)
{
    struct sockaddr_in full = listen_on(0);
    int *fds = calloc((size_t)open, sizeof *fds);
    close(begin(full));
    for (long i = 0; i < open; i++)
        fds[i] = begin(full);
    int epoll = epoll_of(fds, open);
    struct epoll_event events[64];
    double best = 1e18;
    for (long done = 0; done < count; done += 100) {
        double began = now_ns(CLOCK_MONOTONIC);
        for (int i = 0; i < 100; i++)
            if (epoll_wait(epoll, events, 64, 0) < 0)
                die("epoll_wait");
        double took = (now_ns(CLOCK_MONOTONIC) - began) / 100;
        best = took < best ? took : best;
    }
    printf("%.0f\n", best);
}

static void park(long count)
{
    int fd = begin(listen_on(-1));
    int epoll = epoll_of(&fd, 1);
    struct epoll_event event;
    double began = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    if (epoll_wait(epoll, &event, 1, 60000) != 1)
        die("epoll_wait");
    printf("%.0f\n", (now_ns(CLOCK_PROCESS_CPUTIME_ID) - began) / (double)count);
}

static __attribute__((noinline)) void measured_waits(const char *kind, long count, struct pollfd *wanted,
                                                     int epoll, int timeout)
{
    struct epoll_event event;
    for (long i = 0; i < count; i++)
        if ((kind[0] == 'p' ? poll(wanted, 1, timeout) : epoll_wait(epoll, &event, 1, timeout)) != !!timeout)
            die(kind);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: waits KIND COUNT [OPEN]\n");
        return 2;
    }
    const char *kind = argv[1];
    long count = atol(argv[2]);
    struct rlimit most;
    getrlimit(RLIMIT_NOFILE, &most);
    most.rlim_cur = most.rlim_max;
    setrlimit(RLIMIT_NOFILE, &most);
    if (strcmp(kind, "pending") == 0) {
        pending(count, argc > 3 ? atol(argv[3]) : 0);
        return 0;
    }
    if (strcmp(kind, "park") == 0) {
        park(count);
        return 0;
    }
    struct sockaddr_in address = listen_on(1);
    int fd = begin(address);
    struct pollfd wanted = {.fd = fd, .events = POLLOUT};
    poll(&wanted, 1, 1000); /* connected: nothing is pending any more */
    pthread_t thread;
    if (strstr(kind, "-threads"))
        pthread_create(&thread, NULL, sleep_for_ever, NULL);
    int timeout = argc < 4 ? 0 : strcmp(argv[3], "for-ever") == 0 ? -1 : 60000;
    int epoll = epoll_of(&fd, timeout != 0);
    wanted.events = timeout ? POLLOUT : POLLIN;
    poll(&wanted, 1, 0);
    measured_waits(kind, count, &wanted, epoll, timeout);
    return 0;
}
