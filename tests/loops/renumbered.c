/* Closes a number of a connection that fails, and goes on with another one, while another thread acts through the first.
 *
 *   renumbered ADDRESS
 *
 * ADDRESS (127.x.y.z) is where a connect is refused, and the next one is not. Prints what a wait shows of it (POLL...). The
 * other thread is held (late.c) just before it disconnects. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 10000

static int connection;
static _Atomic int *late_disconnect, *is_held, *may_go, has_ended;

static void die(const char *what)
{
    perror(what);
    exit(2);
}

/* Finds the failure. */
static void *wait_beside(void *unused)
{
    struct pollfd asked = {.fd = connection, .events = POLLOUT};
    *late_disconnect = (int)syscall(SYS_gettid);
    poll(&asked, 1, PATIENCE_MS);
    has_ended = 1;
    return unused;
}

int main(int count, char **arguments)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    pthread_t thread;
    late_disconnect = dlsym(RTLD_DEFAULT, "late_disconnect");
    is_held = dlsym(RTLD_DEFAULT, "late_is_held");
    may_go = dlsym(RTLD_DEFAULT, "late_may_go");
    if (count != 2 || !late_disconnect || !is_held || !may_go)
        return 2;
    int server = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    connection = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, arguments[1], &address.sin_addr) != 1 ||
        syscall(SYS_bind, server, &address, length) != 0 ||
        syscall(SYS_getsockname, server, &address, &length) != 0 ||
        connect(connection, (struct sockaddr *)&address, length) == 0 || errno != EINPROGRESS ||
        pthread_create(&thread, NULL, wait_beside, NULL) != 0)
        die("begin");
    while (!*is_held && !has_ended) /* without libresil nothing is held */
        syscall(SYS_nanosleep, &(struct timespec){.tv_nsec = 100000}, NULL);
    struct pollfd asked = {.fd = dup(connection), .events = POLLOUT};
    close(connection);
    *may_go = 1;
    if (syscall(SYS_listen, server, 1) != 0)
        die("listen");
    poll(&asked, 1, PATIENCE_MS);
    printf("%x\n", (unsigned short)asked.revents);
    return 0;
}
