/* Waits for a connection, and finds that it has failed; before it can say so another thread has it connected.
 *
 *   outrun poll|select|epoll|opaque|several|copied ADDRESS
 *
 * ADDRESS (127.x.y.z) is where a connect is refused, and the next one is not. Prints what the wait shows (POLL...). What it
 * has found is held back (late.c) until the connection stands. `opaque`: an epoll under data that are not the number. `several`: the
 * same, and the descriptor is registered with two more. `copied`: what is registered with all three is a copy of it, and it
 * is itself with the others. */
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "unseen.h"

#define PATIENCE_MS 10000

enum form { POLL, SELECT, EPOLL, OPAQUE, SEVERAL, COPIED, FORMS };

static enum form form;
static int server, connection, epoll;
static _Atomic int *thread_held, *is_held, *may_go;

/* The other thread: once the wait has found the failure it listens, waits itself, and lets the wait go on. */
static void *overtake(void *unused)
{
    struct pollfd asked = {.fd = connection, .events = POLLOUT};
    while (!*is_held)
        pause_us(100);
    if (syscall(SYS_listen, server, 1) != 0)
        die("listen");
    poll(&asked, 1, PATIENCE_MS);
    *may_go = 1;
    return unused;
}

static unsigned wait_for_connection(void)
{
    struct pollfd asked = {.fd = connection, .events = POLLIN | POLLOUT};
    struct timeval time = {.tv_sec = PATIENCE_MS / 1000};
    struct epoll_event event = {0};
    fd_set reads, writes;
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    FD_SET(connection, &reads);
    FD_SET(connection, &writes);
    switch (form) {
    case POLL:
        poll(&asked, 1, PATIENCE_MS);
        return (unsigned short)asked.revents;
    case SELECT:
        if (select(connection + 1, &reads, &writes, NULL, &time) < 0)
            die("select");
        return (FD_ISSET(connection, &reads) ? POLLIN : 0) | (FD_ISSET(connection, &writes) ? POLLOUT : 0);
    default:
        epoll_wait(epoll, &event, 1, PATIENCE_MS);
        return event.events;
    }
}

int main(int count, char **arguments)
{
    static const char *const names[FORMS] = {"poll", "select", "epoll", "opaque", "several", "copied"};
    struct sockaddr_in address;
    pthread_t thread;
    thread_held = dlsym(RTLD_DEFAULT, "late_thread");
    is_held = dlsym(RTLD_DEFAULT, "late_is_held");
    may_go = dlsym(RTLD_DEFAULT, "late_may_go");
    if (count != 3 || !thread_held || !is_held || !may_go)
        return 2;
    while (form < FORMS && strcmp(arguments[1], names[form]) != 0)
        form++;
    server = bind_unseen(SOCK_STREAM, arguments[2], &address);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    connection = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.fd = connection};
    struct epoll_event others = {.events = EPOLLIN, .data.u64 = UINT64_C(0x7f0000002000)};
    int registered = connection, beside[2] = {epoll_create1(EPOLL_CLOEXEC), epoll_create1(EPOLL_CLOEXEC)};
    if (form >= OPAQUE)
        event.data.u64 = UINT64_C(0x7f0000001000);
    if (form == FORMS || pthread_create(&thread, NULL, overtake, NULL) != 0)
        die("begin");
    *thread_held = (int)syscall(SYS_gettid);
    if (connect(connection, (struct sockaddr *)&address, sizeof address) == 0 || errno != EINPROGRESS ||
        (form == COPIED && (registered = dup(connection)) < 0) ||
        (form >= SEVERAL && epoll_ctl(beside[0], EPOLL_CTL_ADD, registered, &others) != 0) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, registered, &event) != 0 ||
        (form >= SEVERAL && epoll_ctl(beside[1], EPOLL_CTL_ADD, registered, &others) != 0) ||
        (form == COPIED && (epoll_ctl(beside[0], EPOLL_CTL_ADD, connection, &others) != 0 ||
                            epoll_ctl(beside[1], EPOLL_CTL_ADD, connection, &others) != 0)))
        die("connect");
    printf("%x\n", wait_for_connection());
    *may_go = *is_held = 1;
    return 0;
}
