/* What a lower rung of a ladder costs.
 *
 *     degrade canned COUNT PORT    asks PORT, which a rule answers for, and by turns a server of its own that says the same
 *                                  and hangs up; prints the median of both in ns, and how much was read of each
 *     degrade keep RULES NAME      an answer for NAME is known, and its lookup has just failed
 *     degrade stale COUNT NAME     looks NAME up; prints the median in ns */
#include <arpa/inet.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "state/kept_names.h"
#include "state/process.h"
#include "state/segment.h"

#define ANSWER "HTTP/1.1 503 Sorry\r\nContent-Length: 5\r\n\r\nsorry"
#define MOST   100000

static uint64_t times[2][MOST];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int by_time(const void *a, const void *b)
{
    uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;
    return (first > second) - (first < second);
}

static uint64_t median(uint64_t *all, size_t count)
{
    qsort(all, count, sizeof *all, by_time);
    return all[count / 2];
}

static struct sockaddr_in on_loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* In a process of its own. Gives its port. */
static uint16_t serve(pid_t *server)
{
    struct sockaddr_in address = on_loopback(0);
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 16) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        die("listen");
    *server = fork();
    while (*server == 0) {
        int end = accept(fd, NULL, NULL);
        if (write(end, ANSWER, sizeof ANSWER - 1) < 0 || close(end) != 0)
            _exit(1);
    }
    close(fd);
    return ntohs(address.sin_port);
}

static size_t ask(uint16_t port)
{
    struct sockaddr_in address = on_loopback(port);
    char answer[256];
    size_t size = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    for (ssize_t got; (got = read(fd, answer, sizeof answer)) > 0;)
        size += (size_t)got;
    close(fd);
    return size;
}

static int ask_by_turns(size_t count, uint16_t port)
{
    pid_t server;
    size_t sizes[2] = {0, 0};
    uint16_t ports[2] = {port, serve(&server)};
    for (size_t i = 0; i < count; i++)
        for (unsigned which = 0; which < 2; which++) {
            uint64_t began = clock_now_ns();
            sizes[which] += ask(ports[which]);
            times[which][i] = clock_now_ns() - began;
        }
    kill(server, SIGKILL);
    printf("%llu %llu %zu %zu\n", (unsigned long long)median(times[0], count),
           (unsigned long long)median(times[1], count), sizes[0] / count, sizes[1] / count);
    return 0;
}

static int keep(const char *rules, const char *name)
{
    const struct address address = {{[10] = 0xff, 0xff, 10, 0, 0, 7}};
    const char *folder = getenv("RESIL_STATE_DIR");
    bool is_shared = false;
    snprintf(settings.state_dir, sizeof settings.state_dir, "%s", folder ? folder : "");
    if (!segment_open(rules, &is_shared) || !is_shared)
        die("segment");
    kept_names_answered(name, KEPT_ANY, &address, 1);
    kept_names_failed(name, false);
    return 0;
}

static int look_up(size_t count, const char *name)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *answers;
    for (size_t i = 0; i < count; i++) {
        uint64_t began = clock_now_ns();
        if (getaddrinfo(name, "80", &hints, &answers) != 0)
            die("getaddrinfo");
        freeaddrinfo(answers);
        times[0][i] = clock_now_ns() - began;
    }
    printf("%llu\n", (unsigned long long)median(times[0], count));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    size_t count = strtoul(argv[2], NULL, 10) % (MOST + 1);
    if (strcmp(argv[1], "canned") == 0)
        return ask_by_turns(count, (uint16_t)atoi(argv[3]));
    return strcmp(argv[1], "keep") == 0 ? keep(argv[2], argv[3]) : look_up(count, argv[3]);
}
