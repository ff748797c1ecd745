/* Makes one libc call many times over a connection to itself, for whoever counts instructions, system calls or time.
 *
 *     calls KIND COUNT [PORT [OPEN]]
 *
 * KIND: send recv read write sendto recvfrom sendmsg recvmsg writev readv (one byte each, TCP over loopback, data always
 * ready, while OPEN more connections are open), exchange (send one byte and receive
 * one back), refused (connect to a closed port, a new socket each time), rejected (the same on one socket: meant for an
 * open circuit; prints the best batch's ns per call), connect (connect and close), memory (prints what COUNT open
 * connections cost of private memory in bytes each, and what remains of it once they are closed, and what as many more
 * cost then, in all).
 *
 * Whoever counts instructions counts those of the functions that are called measured_*: connecting costs more or less
 * by where in the table of hosts the port happens to lie, and 10 000 connections make much of that. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in local(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(int *port)
{
    struct sockaddr_in address = local(*port);
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 128) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        die("listen");
    *port = ntohs(address.sin_port);
    return fd;
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int connect_to(int port)
{
    struct sockaddr_in address = local(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    return fd;
}

/* Their other ends are closed at once: one number for each. */
static void open_many(int *fds, long count, int listener, int port)
{
    for (long i = 0; i < count; i++) {
        fds[i] = connect_to(port);
        syscall(SYS_close, accept(listener, NULL, NULL));
    }
}

/* Through system calls only: stdio would change what is measured. */
static long private_bytes(void)
{
    static char text[4096];
    long fd = syscall(SYS_open, "/proc/self/smaps_rollup", 0),
         length = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (length <= 0)
        die("smaps_rollup");
    char *anonymous = strstr(text, "Anonymous:");
    return anonymous ? atol(anonymous + strlen("Anonymous:")) * 1024 : 0;
}

static void memory(long count)
{
    int port = 0, listener = listen_on(&port), first = connect_to(port);
    int *fds = calloc((size_t)count, sizeof *fds);
    memset(fds, 1, (size_t)count * sizeof *fds);
    (void)private_bytes(); /* its page */
    long before = private_bytes();
    open_many(fds, count, listener, port);
    long open = private_bytes();
    for (long i = 0; i < count; i++)
        close(fds[i]);
    long closed = private_bytes();
    open_many(fds, count, listener, port);
    long again = private_bytes();
    close(first);
    printf("%.1f %ld %ld\n", (double)(open - before) / (double)count, closed - before, again - open);
}

/* One byte, by the call of that name. */
static ssize_t move(const char *kind, int fd, char *byte)
{
    struct iovec piece = {byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (strcmp(kind, "send") == 0)
        return send(fd, byte, 1, 0);
    if (strcmp(kind, "recv") == 0)
        return recv(fd, byte, 1, 0);
    if (strcmp(kind, "write") == 0)
        return write(fd, byte, 1);
    if (strcmp(kind, "read") == 0)
        return read(fd, byte, 1);
    if (strcmp(kind, "sendto") == 0)
        return sendto(fd, byte, 1, 0, NULL, 0);
    if (strcmp(kind, "recvfrom") == 0)
        return recvfrom(fd, byte, 1, 0, NULL, NULL);
    if (strcmp(kind, "sendmsg") == 0)
        return sendmsg(fd, &message, 0);
    if (strcmp(kind, "recvmsg") == 0)
        return recvmsg(fd, &message, 0);
    if (strcmp(kind, "writev") == 0)
        return writev(fd, &piece, 1);
    if (strcmp(kind, "readv") == 0)
        return readv(fd, &piece, 1);
    return -1;
}

static __attribute__((noinline)) void measured_transfer(const char *kind, long count, int fd, int peer)
{
    char byte = 'x';
    static char many[65536];
    bool receives = strstr("recv read recvfrom recvmsg readv", kind),
         exchanges = strcmp(kind, "exchange") == 0;
    /* The peer's calls are no libc calls: they are not what is measured. */
    for (long done = 0; done < count;) {
        long batch = count - done < 1000 ? count - done : 1000;
        if (receives && syscall(SYS_write, peer, many, batch) != batch)
            die("write");
        for (long i = 0; i < batch; i++) {
            ssize_t moved = !exchanges ? move(kind, fd, &byte)
                            : send(fd, &byte, 1, 0) == 1 && syscall(SYS_read, peer, &byte, 1) == 1 &&
                                    syscall(SYS_write, peer, &byte, 1) == 1
                                ? recv(fd, &byte, 1, 0)
                                : -1;
            if (moved != 1)
                die(kind);
        }
        if (!receives && !exchanges)
            for (long got = 0; got < batch;)
                got += syscall(SYS_read, peer, many, sizeof many);
        done += batch;
    }
}

static void transfer(const char *kind, long count, long open)
{
    int port = 0, listener = listen_on(&port);
    open_many(calloc((size_t)open + 1, sizeof(int)), open, listener, port);
    int fd = connect_to(port);
    measured_transfer(kind, count, fd, accept(listener, NULL, NULL));
}

static __attribute__((noinline)) void measured_rejections(long count, int port)
{
    struct sockaddr_in address = local(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    double best = 1e18;
    for (long done = 0; done < count; done += 100) {
        double began = now_ns();
        for (int i = 0; i < 100; i++)
            if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno != ECONNREFUSED)
                die("connect should have been rejected");
        double took = (now_ns() - began) / 100;
        best = took < best ? took : best;
    }
    printf("%.0f\n", best);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: calls KIND COUNT [PORT [OPEN]]\n");
        return 2;
    }
    long count = atol(argv[2]);
    int port = argc > 3 ? atoi(argv[3]) : 0;
    struct rlimit most;
    getrlimit(RLIMIT_NOFILE, &most);
    most.rlim_cur = most.rlim_max;
    setrlimit(RLIMIT_NOFILE, &most);
    if (strcmp(argv[1], "memory") == 0) {
        memory(count);
    } else if (strcmp(argv[1], "rejected") == 0) {
        measured_rejections(count, port);
    } else if (strcmp(argv[1], "connect") == 0 || strcmp(argv[1], "refused") == 0) {
        int listener = -1;
        if (argv[1][0] == 'c')
            listener = listen_on(&port);
        struct sockaddr_in address = local(port);
        for (long i = 0; i < count; i++) {
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            connect(fd, (struct sockaddr *)&address, sizeof address);
            close(fd);
            if (listener >= 0)
                close(accept(listener, NULL, NULL));
        }
    } else {
        transfer(argv[1], count, argc > 4 ? atol(argv[4]) : 0);
    }
    return 0;
}
