/* Closes a number of a connection that fails, and goes on with another one, while another thread acts through the first.
 *
 *   renumbered ADDRESS
 *
 * ADDRESS (127.x.y.z) is where a connect is refused, and the next one is not. Prints what a wait shows of it (POLL...). The
 * other thread is held (late.c) just before it disconnects. */
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "unseen.h"

#define PATIENCE_MS 10000

static int connection;
static _Atomic int *late_disconnect, *is_held, *may_go, has_ended;

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
    struct sockaddr_in address;
    pthread_t thread;
    late_disconnect = dlsym(RTLD_DEFAULT, "late_disconnect");
    is_held = dlsym(RTLD_DEFAULT, "late_is_held");
    may_go = dlsym(RTLD_DEFAULT, "late_may_go");
    if (count != 2 || !late_disconnect || !is_held || !may_go)
        return 2;
    int server = bind_unseen(SOCK_STREAM, arguments[1], &address);
    connection = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connect(connection, (struct sockaddr *)&address, sizeof address) == 0 || errno != EINPROGRESS ||
        pthread_create(&thread, NULL, wait_beside, NULL) != 0)
        die("begin");
    while (!*is_held && !has_ended) /* without libresil nothing is held */
        pause_us(100);
    struct pollfd asked = {.fd = dup(connection), .events = POLLOUT};
    close(connection);
    *may_go = 1;
    if (syscall(SYS_listen, server, 1) != 0)
        die("listen");
    poll(&asked, 1, PATIENCE_MS);
    printf("%x\n", (unsigned short)asked.revents);
    return 0;
}
