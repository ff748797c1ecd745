/* A small client: connects again and again, sends a byte, reads one, closes. Ends well whatever the calls say, as long
 * as each of them comes back.
 *
 *   client PORT TIMES            that many connections
 *   client PORT -                until standard input ends
 *   client PORT TIMES wait       a line from standard input before each but the first */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void connect_once(unsigned short port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char byte = 'x';
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        send(fd, &byte, 1, MSG_NOSIGNAL) == 1)
        recv(fd, &byte, 1, 0);
    close(fd);
}

static int is_over(void)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return poll(&input, 1, 0) != 0;
}

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    unsigned short port = (unsigned short)atoi(arguments[1]);
    char line[16];
    if (strcmp(arguments[2], "-") == 0) {
        while (!is_over())
            connect_once(port);
        return 0;
    }
    int times = atoi(arguments[2]);
    for (int i = 0; i < times; i++) {
        if (i && count > 3 && !fgets(line, sizeof line, stdin))
            return 1;
        connect_once(port);
        if (count > 3)
            puts("done"), fflush(stdout);
    }
    return 0;
}
