/* A library whose constructor runs before that of libresil, and whose destructor runs after the program: both call what
 * libresil hooks. Says what came of it on stdout. EARLY_ECHO and EARLY_HANG are ports. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static int connected(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((unsigned short)atoi(port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? fd : -1;
}

__attribute__((constructor)) static void early(void)
{
    const char *port = getenv("EARLY_ECHO");
    if (!port)
        return;
    char data[8] = "";
    struct iovec part = {data, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    int value, pair[2] = {-1, -1};
    socklen_t length = sizeof value;
    struct addrinfo *answers = NULL;
    int fd = connected(port), copy = dup(fd);
    struct pollfd wanted = {.fd = copy, .events = POLLIN};
    int good =
        fd >= 0 && send(fd, "abcdef", 6, 0) == 6 && poll(&wanted, 1, -1) == 1 && read(copy, data, 1) == 1;
    good += recv(fd, data, 1, 0) == 1;
    good += recvmsg(fd, &message, 0) == 1;
    good += readv(fd, &part, 1) == 1;
    good += recvfrom(fd, data, 1, 0, NULL, NULL) == 1 && data[0] == 'e';
    good += getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &length) == 0 && value == 0;
    good += fcntl(fd, F_GETFD) == 0;
    good += close(copy) == 0 && close(copy) == -1 && errno == EBADF;
    good +=
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[0], "x", 1) == 1 && close(pair[0]) == 0;
    good += getaddrinfo("127.0.0.1", port, NULL, &answers) == 0 && answers;
    freeaddrinfo(answers);
    FILE *stream = fdopen(fd, "r");
    good += stream && fclose(stream) == 0 && close(pair[1]) == 0;
    dprintf(STDOUT_FILENO, "early: %d of 11\n", good);
    errno = 4242;
}

__attribute__((destructor)) static void at_the_end(void)
{
    const char *port = getenv("EARLY_HANG");
    char byte;
    if (!port)
        return;
    int fd = connected(port);
    send(fd, "x", 1, 0);
    errno = 0;
    if (recv(fd, &byte, 1, 0) < 0)
        dprintf(STDOUT_FILENO, "at the end: %d\n", errno);
}
