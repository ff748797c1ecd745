/* Makes one libc call many times over a connection to itself, for whoever counts instructions, system calls or time.
 *
 *     calls KIND COUNT [PORT]
 *
 * KIND: send recv read write (one byte each, TCP over loopback, data always ready), exchange (send one byte and receive
 * one back), refused (connect to a closed port, a new socket each time), rejected (the same on one socket: meant for an
 * open circuit; prints the best batch's ns per call), connect (connect and close). Between the marks it does nothing
 * else. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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

static void transfer(const char *kind, long count)
{
    int port = 0, listener = listen_on(&port), fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = local(port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    int peer = accept(listener, NULL, NULL);
    char byte = 'x';
    static char many[65536];
    /* The peer's calls are no libc calls: they are not what is measured. */
    for (long done = 0; done < count;) {
        long batch = count - done < 1000 ? count - done : 1000;
        if ((strcmp(kind, "recv") == 0 || strcmp(kind, "read") == 0) &&
            syscall(SYS_write, peer, many, batch) != batch)
            die("write");
        for (long i = 0; i < batch; i++) {
            ssize_t moved = strcmp(kind, "send") == 0    ? send(fd, &byte, 1, 0)
                            : strcmp(kind, "write") == 0 ? write(fd, &byte, 1)
                            : strcmp(kind, "recv") == 0  ? recv(fd, &byte, 1, 0)
                            : strcmp(kind, "read") == 0  ? read(fd, &byte, 1)
                            : send(fd, &byte, 1, 0) == 1 && syscall(SYS_read, peer, &byte, 1) == 1 &&
                                    syscall(SYS_write, peer, &byte, 1) == 1
                                ? recv(fd, &byte, 1, 0)
                                : -1;
            if (moved != 1)
                die(kind);
        }
        if (strcmp(kind, "send") == 0 || strcmp(kind, "write") == 0)
            for (long got = 0; got < batch;)
                got += syscall(SYS_read, peer, many, sizeof many);
        done += batch;
    }
}

static void rejected(long count, int port)
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
        fprintf(stderr, "usage: calls send|recv|read|write|exchange|connect|refused|rejected COUNT [PORT]\n");
        return 2;
    }
    long count = atol(argv[2]);
    int port = argc > 3 ? atoi(argv[3]) : 0;
    if (strcmp(argv[1], "rejected") == 0) {
        rejected(count, port);
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
        transfer(argv[1], count);
    }
    return 0;
}
