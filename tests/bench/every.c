/* Makes every call that moves data, waits or asks, on a TCP connection to itself, for callgrind to count: the counts are
 * dumped call by call, under the call's name. What it does besides is done by raw system calls, and not counted.
 *
 *     every COUNT OPEN     each call COUNT times (at most 1000), while OPEN more connections are open */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

#define COUNT_MAX 1000

static int fd, peer, listener, file, pipes[2], epoll;
static struct sockaddr_in address;
static fd_set writable;
static char byte = 'x';
static struct iovec piece = {&byte, 1};

enum data { NONE, COMES, GOES };

#define CALL(name, data, expression)                                                                         \
    static long do_##name(void)                                                                              \
    {                                                                                                        \
        return expression;                                                                                   \
    }
#define MESSAGE  (&(struct msghdr){.msg_iov = &piece, .msg_iovlen = 1})
#define MESSAGES (&(struct mmsghdr){.msg_hdr = {.msg_iov = &piece, .msg_iovlen = 1}})
#define POLLED   (&(struct pollfd){fd, POLLOUT, 0})
#define ZERO     (&(struct timespec){0, 0})
#define CALLS                                                                                                \
    CALL(recv, COMES, recv(fd, &byte, 1, 0))                                                                 \
    CALL(recvfrom, COMES, recvfrom(fd, &byte, 1, 0, NULL, NULL))                                             \
    CALL(recvmsg, COMES, recvmsg(fd, MESSAGE, 0))                                                            \
    CALL(recvmmsg, COMES, recvmmsg(fd, MESSAGES, 1, 0, NULL))                                                \
    CALL(read, COMES, read(fd, &byte, 1))                                                                    \
    CALL(readv, COMES, readv(fd, &piece, 1))                                                                 \
    CALL(splice_in, COMES, splice(fd, NULL, pipes[1], NULL, 1, 0) + syscall(SYS_read, pipes[0], &byte, 1))   \
    CALL(send, GOES, send(fd, &byte, 1, 0))                                                                  \
    CALL(sendto, GOES, sendto(fd, &byte, 1, 0, NULL, 0))                                                     \
    CALL(sendmsg, GOES, sendmsg(fd, MESSAGE, 0))                                                             \
    CALL(sendmmsg, GOES, sendmmsg(fd, MESSAGES, 1, 0))                                                       \
    CALL(write, GOES, write(fd, &byte, 1))                                                                   \
    CALL(writev, GOES, writev(fd, &piece, 1))                                                                \
    CALL(sendfile, GOES, sendfile(fd, file, &(off_t){0}, 1))                                                 \
    CALL(poll, NONE, poll(POLLED, 1, 0))                                                                     \
    CALL(ppoll, NONE, ppoll(POLLED, 1, ZERO, NULL))                                                          \
    CALL(select, NONE, select(fd + 1, NULL, &writable, NULL, NULL))                                          \
    CALL(pselect, NONE, pselect(fd + 1, NULL, &writable, NULL, NULL, NULL))                                  \
    CALL(epoll_wait, NONE, epoll_wait(epoll, &(struct epoll_event){0}, 1, 0))                                \
    CALL(epoll_ctl, NONE, epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &(struct epoll_event){.events = EPOLLOUT}))    \
    CALL(getsockopt, NONE, getsockopt(fd, SOL_SOCKET, SO_ERROR, &(int){0}, &(socklen_t){sizeof(int)}))       \
    CALL(setsockopt, NONE, setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int)))                 \
    CALL(getpeername, NONE, getpeername(fd, (void *)&(struct sockaddr_in){0}, &(socklen_t){sizeof address})) \
    CALL(fcntl, NONE, fcntl(fd, F_GETFL))                                                                    \
    CALL(ioctl, NONE, ioctl(fd, FIONREAD, &(int){0}))                                                        \
    CALL(accept, NONE, accept(listener, NULL, NULL))                                                         \
    CALL(dup_close, NONE, close(dup(fd)))                                                                    \
    CALL(socket_close, NONE, close(socket(AF_INET, SOCK_STREAM, 0)))
CALLS
#undef CALL
#define CALL(name, data, expression) {#name, data, do_##name},
static const struct {
    const char *name;
    enum data data;
    long (*make)(void);
} calls[] = {CALLS};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int connected(void)
{
    int made = socket(AF_INET, SOCK_STREAM, 0);
    if (made < 0 || connect(made, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    return made;
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) : 100, open = argc > 2 ? atol(argv[2]) : 0;
    static char many[COUNT_MAX];
    socklen_t length = sizeof address;
    struct rlimit most;
    getrlimit(RLIMIT_NOFILE, &most);
    most.rlim_cur = most.rlim_max;
    setrlimit(RLIMIT_NOFILE, &most);
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 128) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        die("listen");
    file = syscall(SYS_open, "/proc/self/exe", O_RDONLY);
    epoll = epoll_create1(0);
    fd = connected(); /* a low number: select takes no other */
    peer = accept(listener, NULL, NULL);
    if (pipe(pipes) != 0 || file < 0 || peer < 0 || epoll < 0 || fd >= FD_SETSIZE || count > COUNT_MAX)
        die("set up");
    FD_SET(fd, &writable);
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLOUT});
    for (long i = 0; i < open; i++) {
        connected();
        syscall(SYS_close, accept(listener, NULL, NULL));
    }
    fcntl(listener, F_SETFL, O_NONBLOCK);
    for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
        if (syscall(SYS_write, peer, many, 1) != 1 || calls[c].make() < -1) /* what is done once */
            die(calls[c].name);
        if (calls[c].data == COMES && syscall(SYS_write, peer, many, count) != count)
            die("write");
        CALLGRIND_ZERO_STATS;
        for (long i = 0; i < count; i++)
            calls[c].make();
        CALLGRIND_DUMP_STATS_AT(calls[c].name);
        for (int from = 0; from < 2; from++) /* what came, and what went */
            syscall(SYS_recvfrom, from ? fd : peer, many, sizeof many, MSG_DONTWAIT, NULL, NULL);
    }
    return 0;
}
