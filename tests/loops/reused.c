/* A connection is closed by a system call that no hook sees, and something else gets its number.
 *
 *   reused STORY TAKER PORT|PATH
 *
 * STORY is how far it has got with the server at PORT of 127.0.0.1 (or at the UNIX socket PATH) by then, and TAKER what gets
 * the number. Prints everything that waits and calls show of the latter. The other ends' system calls are made directly, too. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define SHORTER_MS  40 /* than the timeouts of the rules */
#define LONGER_MS   400
#define PATIENCE_MS 10000

static const char *where;
static int other_end = -1;

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static int begin_connect(int type)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(where)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS &&
                   errno != ECONNREFUSED && errno != ECONNRESET))
        die("connect");
    return fd;
}

static unsigned wait_for(int fd, short events, int timeout_ms)
{
    struct pollfd asked = {.fd = fd, .events = events};
    return poll(&asked, 1, timeout_ms) > 0 ? (unsigned short)asked.revents : 0;
}

static int connect_to(int type)
{
    int fd = begin_connect(type);
    if (wait_for(fd, POLLOUT, PATIENCE_MS) != POLLOUT)
        die("connected");
    return fd;
}

static int ask(int fd)
{
    if (send(fd, "x\n\n", 3, MSG_NOSIGNAL) != 3)
        die("send");
    return fd;
}

static int be_answered(int fd)
{
    char answer[4096];
    if (!wait_for(fd, POLLIN, PATIENCE_MS) || recv(fd, answer, sizeof answer, 0) <= 0)
        die("answer");
    return fd;
}

/* Its failures are those that open the circuit. */
static int keep_while_others_fail(void)
{
    int fd = be_answered(ask(connect_to(SOCK_STREAM)));
    puts("answered");
    fflush(stdout);
    getchar(); /* the server is gone */
    for (int i = 0; i < 3; i++) {
        int failing = begin_connect(SOCK_STREAM), error;
        socklen_t length = sizeof error;
        wait_for(failing, POLLOUT, LONGER_MS);
        getsockopt(failing, SOL_SOCKET, SO_ERROR, &error, &length);
        close(failing);
    }
    return fd;
}

static int begin_local(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, where, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    connect(fd, (struct sockaddr *)&address, sizeof address);
    wait_for(fd, POLLOUT, 10);
    return fd;
}

static int begin(const char *story)
{
    int fd = -1;
    if (strcmp(story, "flying") == 0) {
        fd = begin_connect(SOCK_STREAM);
        poll(NULL, 0, SHORTER_MS);
    } else if (strcmp(story, "refused") == 0 || strcmp(story, "timed-out") == 0) {
        fd = begin_connect(SOCK_STREAM);
        wait_for(fd, POLLOUT, LONGER_MS);
    } else if (strcmp(story, "cut") == 0 || strcmp(story, "datagram") == 0) {
        fd = ask(connect_to(*story == 'd' ? SOCK_DGRAM : SOCK_STREAM));
        wait_for(fd, POLLIN, LONGER_MS);
    } else if (strcmp(story, "awaiting") == 0) {
        fd = ask(connect_to(SOCK_STREAM));
    } else if (strcmp(story, "idle") == 0) {
        fd = be_answered(ask(connect_to(SOCK_STREAM)));
        poll(NULL, 0, LONGER_MS);
    } else if (strcmp(story, "stood-in-for") == 0) {
        fd = begin_connect(SOCK_STREAM);
        wait_for(fd, POLLOUT, LONGER_MS);
        send(fd, "x\n\n", 3, MSG_NOSIGNAL);
    } else if (strcmp(story, "rejecting") == 0) {
        fd = keep_while_others_fail();
    } else if (strcmp(story, "local") == 0) {
        fd = begin_local();
    }
    return fd;
}

static int take_pipe(void)
{
    int ends[2];
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0)
        die("pipe");
    other_end = ends[1];
    return ends[0];
}

static int take_pair(void)
{
    int ends[2];
    if (syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        die("socketpair");
    other_end = ends[1];
    return ends[0];
}

static int take_file(void)
{
    char path[] = "/tmp/reused-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || unlink(path) != 0)
        die("file");
    return fd;
}

static int take(const char *taker)
{
    return strcmp(taker, "pipe") == 0 ? take_pipe() : strcmp(taker, "pair") == 0 ? take_pair() : take_file();
}

static const char *outcome(ssize_t result)
{
    static char number[24];
    if (result < 0)
        return strerrorname_np(errno);
    snprintf(number, sizeof number, "%zd", result);
    return number;
}

static unsigned selected(int fd)
{
    fd_set reads, writes;
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    FD_SET(fd, &reads);
    FD_SET(fd, &writes);
    select(fd + 1, &reads, &writes, NULL, &(struct timeval){0, 0});
    return (FD_ISSET(fd, &reads) ? POLLIN : 0) | (FD_ISSET(fd, &writes) ? POLLOUT : 0);
}

static void print_waits(int fd, int timeout_ms)
{
    static const struct {
        const char *name;
        unsigned modes;
    } kinds[] = {{"level", 0}, {"edge", EPOLLET}, {"once", EPOLLONESHOT}, {"exclusive", EPOLLEXCLUSIVE}};
    printf("poll %x", wait_for(fd, POLLIN | POLLOUT, timeout_ms));
    printf(", for reading %x", wait_for(fd, POLLIN | POLLRDHUP, timeout_ms));
    printf(", select %x", selected(fd));
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event asked = {.events = EPOLLIN | EPOLLOUT | kinds[i].modes, .data.fd = fd};
        struct epoll_event seen = {0};
        int result = epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &asked);
        if (result == 0 && epoll_wait(epoll, &seen, 1, timeout_ms) > 0)
            printf(", %s %x", kinds[i].name, seen.events);
        else
            printf(", %s %s", kinds[i].name, result ? strerrorname_np(errno) : "nothing");
        close(epoll);
    }
    puts("");
}

static void print_all(int fd)
{
    char data[100];
    int error = -1;
    socklen_t length = sizeof error;
    print_waits(fd, LONGER_MS / 8);
    if (other_end >= 0 && syscall(SYS_write, other_end, "hello", 5) != 5)
        die("write");
    print_waits(fd, LONGER_MS);
    printf("getsockopt %s", outcome(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length)));
    printf(", SO_ERROR %d\n", error);
    for (int i = 0; i < 2; i++) {
        ssize_t got;
        printf("write %s", outcome(write(fd, "line\n", 5)));
        printf(", send %s", outcome(send(fd, "line\n", 5, MSG_NOSIGNAL)));
        printf(", back to %s", outcome(lseek(fd, 0, SEEK_SET)));
        printf(", read %s", outcome(got = read(fd, data, sizeof data)));
        printf(" (%.*s)", got > 0 ? (int)got - 1 : 0, data);
        printf(", recv %s\n", outcome(recv(fd, data, sizeof data, MSG_DONTWAIT)));
    }
    print_waits(fd, LONGER_MS / 8);
    printf("shutdown %s", outcome(shutdown(fd, SHUT_WR)));
    printf(", connect %s",
           outcome(connect(fd, &(struct sockaddr){.sa_family = AF_UNSPEC}, sizeof(struct sockaddr))));
    printf(", close %s\n", outcome(close(fd)));
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    where = arguments[3];
    int fd = begin(arguments[1]);
    if (fd < 0 || syscall(SYS_close, fd) != 0 || take(arguments[2]) != fd)
        die(arguments[1]);
    print_all(fd);
    return 0;
}
