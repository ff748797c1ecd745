/* How deep calls go: makes them on a stack that was painted before, and prints for each how many bytes of it were written.
 *
 *     stack PORT CLOSED_PORT [NAME...]    PORT echoes; nobody listens on CLOSED_PORT. With NAMEs of 127.0.0.1, which are
 *                                         looked up before, by another thread: which of them is meant is in doubt */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define STACK_BYTES (256 << 10)
#define PAINT       0xa5

static struct sockaddr_in open_port, closed_port;
static int fd;
static char byte = 'x';

static void nothing(void)
{
}

static void connects(void)
{
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&open_port, sizeof open_port) != 0)
        exit(1);
}

static void sends(void)
{
    send(fd, &byte, 1, 0);
}

static void receives(void)
{
    recv(fd, &byte, 1, 0);
}

static void closes(void)
{
    close(fd);
}

static void is_refused(void)
{
    int other = socket(AF_INET, SOCK_STREAM, 0);
    connect(other, (struct sockaddr *)&closed_port, sizeof closed_port);
    close(other);
}

static const struct {
    const char *name;
    void (*make)(void);
} calls[] = {{"nothing", nothing}, {"connect", connects},  {"refused", is_refused}, {"send", sends},
             {"recv", receives},   {"send", sends},        {"recv", receives},      {"timeout", receives},
             {"close", closes},    {"refused", is_refused}};

static void *make(void *call)
{
    ((void (*)(void))(uintptr_t)call)();
    return NULL;
}

static long depth_of(void (*call)(void))
{
    unsigned char *stack =
        mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t attributes;
    pthread_t thread;
    memset(stack, PAINT, STACK_BYTES);
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, STACK_BYTES);
    if (pthread_create(&thread, &attributes, make, (void *)(uintptr_t)call) != 0)
        exit(2);
    pthread_join(thread, NULL);
    long untouched = 0;
    while (untouched < STACK_BYTES && stack[untouched] == PAINT)
        untouched++;
    munmap(stack, STACK_BYTES);
    return STACK_BYTES - untouched;
}

static void *look_up(void *names)
{
    for (char **name = names; *name; name++) {
        struct addrinfo *answer;
        if (getaddrinfo(*name, NULL, &(struct addrinfo){.ai_family = AF_INET}, &answer) != 0)
            exit(3);
        freeaddrinfo(answer);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    open_port = closed_port =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    open_port.sin_port = htons((unsigned short)atoi(argv[1]));
    closed_port.sin_port = htons((unsigned short)atoi(argv[2]));
    pthread_t thread;
    if (pthread_create(&thread, NULL, look_up, argv + 3) != 0)
        return 2;
    pthread_join(thread, NULL);
    long least = depth_of(nothing);
    is_refused(); /* rules are read once, which goes deeper */
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        printf("%s %ld\n", calls[i].name, depth_of(calls[i].make) - least);
    return 0;
}
