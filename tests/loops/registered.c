/* A descriptor is registered with an epoll in a way that nobody has seen, or under data that do not tell its number.
 *
 *   registered nudged|disarmed|retried ADDRESS
 *
 * Prints what the epoll reports of a connection to ADDRESS (127.x.y.z): while a request is not answered and another thread
 * sleeps in an epoll of its own; when it is refused, and is reported once only; and the same where somebody listens from
 * then on. The server makes its system calls itself, so that no hook sees it. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "unseen.h"

#define PATIENCE_MS 5000
#define OPAQUE      UINT64_C(0x7f0000001000)

static struct sockaddr_in address;
static int server, sleeping;
static pid_t sleeper;

static int begin_connect(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS))
        die("connect");
    return fd;
}

static void *sleep_in_epoll(void *unused)
{
    struct epoll_event event;
    __atomic_store_n(&sleeper, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    epoll_wait(sleeping, &event, 1, -1);
    return unused;
}

static unsigned nudged(int epoll)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = OPAQUE};
    pthread_t id;
    int ends[2];
    if (syscall(SYS_listen, server, 1) != 0 || pipe2(ends, O_CLOEXEC) != 0 ||
        pthread_create(&id, NULL, sleep_in_epoll, NULL) != 0)
        die("begin");
    int fd = begin_connect();
    /* Of what is registered twice each has data of its own. */
    epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &(struct epoll_event){.data.u64 = 1});
    epoll_ctl(sleeping, EPOLL_CTL_ADD, ends[0], &(struct epoll_event){.data.u64 = 1});
    struct pollfd asked = {.fd = fd, .events = POLLOUT};
    if (poll(&asked, 1, PATIENCE_MS) != 1 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("connect");
    pid_t thread;
    do
        thread = __atomic_load_n(&sleeper, __ATOMIC_ACQUIRE);
    while (!thread || !is_asleep(getpid(), thread));
    if (send(fd, "question", 8, 0) != 8)
        die("send");
    return epoll_wait(epoll, &event, 1, 100) > 0 ? event.events : 0;
}

static unsigned disarmed(int epoll, bool listens)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLONESHOT, .data.u64 = OPAQUE};
    int fd = begin_connect();
    if (syscall(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, fd, &event) != 0 ||
        (listens && syscall(SYS_listen, server, 1) != 0))
        die("begin");
    return epoll_wait(epoll, &event, 1, PATIENCE_MS) > 0 ? event.events : 0;
}

int main(int count, char **arguments)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    sleeping = epoll_create1(EPOLL_CLOEXEC);
    if (count != 3 || epoll < 0 || sleeping < 0)
        return 2;
    server = bind_unseen(SOCK_STREAM, arguments[2], &address);
    bool listens = strcmp(arguments[1], "retried") == 0;
    printf("%x\n", strcmp(arguments[1], "nudged") == 0 ? nudged(epoll) : disarmed(epoll, listens));
    return 0;
}
