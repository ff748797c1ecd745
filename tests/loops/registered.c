/* A descriptor is registered with an epoll in a way that nobody has seen, or under data that do not tell its number.
 *
 *   registered nudged|disarmed|retried ADDRESS
 *
 * Prints what the epoll reports of a connection to ADDRESS (127.x.y.z): while a request is not answered and another thread
 * sleeps in an epoll of its own; when it is refused, and is reported once only; and the same where somebody listens from
 * then on. The server makes its system calls itself, so that no hook sees it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATIENCE_MS 5000
#define OPAQUE      UINT64_C(0x7f0000001000)

static struct sockaddr_in address = {.sin_family = AF_INET};
static int server, sleeping;
static pid_t sleeper;

static void die(const char *what)
{
    perror(what);
    exit(2);
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

static void await_sleeper(void)
{
    char path[64], line[256] = "";
    const char *state = NULL;
    pid_t thread;
    do {
        thread = __atomic_load_n(&sleeper, __ATOMIC_ACQUIRE);
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
        int fd = thread ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t got = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
        close(fd);
        state = got > 0 ? strrchr(line, ')') : NULL;
    } while (!state || state[2] != 'S');
}

static unsigned nudged(int epoll)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = OPAQUE};
    pthread_t thread;
    int ends[2];
    if (syscall(SYS_listen, server, 1) != 0 || pipe2(ends, O_CLOEXEC) != 0 ||
        pthread_create(&thread, NULL, sleep_in_epoll, NULL) != 0)
        die("begin");
    int fd = begin_connect();
    /* What is registered twice tells nobody which of its epolls has data of whose. */
    epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &(struct epoll_event){.data.u64 = 1});
    epoll_ctl(sleeping, EPOLL_CTL_ADD, ends[0], &(struct epoll_event){.data.u64 = 1});
    struct pollfd asked = {.fd = fd, .events = POLLOUT};
    if (poll(&asked, 1, PATIENCE_MS) != 1 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("connect");
    await_sleeper();
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
    bind_server(arguments[2]);
    bool listens = strcmp(arguments[1], "retried") == 0;
    printf("%x\n", strcmp(arguments[1], "nudged") == 0 ? nudged(epoll) : disarmed(epoll, listens));
    return 0;
}
