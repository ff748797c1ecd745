/* Waits for what never comes, and meanwhile another thread begins to connect: the time that was given is up all the same.
 *
 *   overtaken poll|ppoll|epoll_wait|epoll_pwait|epoll_pwait2 ADDRESS
 *   overtaken epoll_wait|epoll_pwait|epoll_pwait2 ADDRESS seen|signal|restart
 *
 * ADDRESS (127.x.y.z) is where connects are refused. Prints what the wait returned, and in how many waits of the kernel
 * (counting.c). `seen`: the epoll is to tell of the connect, which begins when half of the time is up; prints what the wait
 * returned, and whether it took its time and no more. `signal`: a signal comes at the moment when the wait has found that;
 * prints what it returned, errno and how often the handler ran. `restart`: the same with SA_RESTART, which says nothing of
 * waits. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unseen.h"

#define TIMEOUT_MS  500
#define PATIENCE_MS 2000

enum form { POLL, PPOLL, EPOLL_WAIT, EPOLL_PWAIT, EPOLL_PWAIT2, FORMS };

static enum form form;
static int epoll, ends[2];
static struct sockaddr_in refusing;
static _Atomic bool has_begun;
static bool is_seen, is_signalled;
static _Atomic uint64_t overtaken_ns;
static volatile sig_atomic_t handled;
static sigset_t open_mask;

static void handle(int number)
{
    (void)number;
    handled++;
}

static int begin_connect(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    connect(fd, (struct sockaddr *)&refusing, sizeof refusing);
    return fd;
}

static void *overtake(void *unused)
{
    while (!atomic_load(&has_begun) || !is_asleep(getpid(), getpid()))
        usleep(1000);
    if (!is_seen && !is_signalled) {
        begin_connect();
        return unused;
    }
    /* What the wait has used up by then is what is tested: it must not begin again. */
    usleep(is_seen ? PATIENCE_MS / 2 * 1000 : 1000);
    atomic_store(&overtaken_ns, now_ns());
    int fd = begin_connect();
    struct epoll_event event = {.events = EPOLLOUT | EPOLLIN};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl");
    return unused;
}

static int wait_for_nothing(int timeout_ms)
{
    struct pollfd asked = {.fd = ends[0], .events = POLLIN};
    struct timespec time = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    struct epoll_event event;
    switch (form) {
    case POLL:
        return poll(&asked, 1, timeout_ms);
    case PPOLL:
        return ppoll(&asked, 1, &time, &open_mask);
    case EPOLL_WAIT:
        return epoll_wait(epoll, &event, 1, timeout_ms);
    case EPOLL_PWAIT:
        return epoll_pwait(epoll, &event, 1, timeout_ms, &open_mask);
    default:
        return epoll_pwait2(epoll, &event, 1, &time, &open_mask);
    }
}

static void be_seen(void)
{
    uint64_t began = now_ns();
    atomic_store(&has_begun, true);
    int ready = wait_for_nothing(PATIENCE_MS);
    uint64_t ended = now_ns(), time_ns = PATIENCE_MS * UINT64_C(1000000);
    printf("%d %s\n", ready,
           ended - began < time_ns                        ? "early"
           : ended < atomic_load(&overtaken_ns) + time_ns ? "in time"
                                                          : "late");
}

/* For the p-forms it is blocked outside them, as it should be. */
static void be_signalled(int *signal_due, bool restarts)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = restarts ? SA_RESTART : 0};
    sigset_t closed;
    sigemptyset(&closed);
    sigaddset(&closed, SIGUSR1);
    if (!signal_due || sigaction(SIGUSR1, &action, NULL) != 0 ||
        (form != EPOLL_WAIT && sigprocmask(SIG_BLOCK, &closed, NULL) != 0))
        die("signal");
    *signal_due = SIGUSR1;
    atomic_store(&has_begun, true);
    int ready = wait_for_nothing(PATIENCE_MS);
    int error = ready < 0 ? errno : 0;
    printf("%d %s %d\n", ready, error == EINTR ? "EINTR" : "-", (int)handled);
}

int main(int count, char **arguments)
{
    static const char *const names[FORMS] = {"poll", "ppoll", "epoll_wait", "epoll_pwait", "epoll_pwait2"};
    unsigned long *made = dlsym(RTLD_DEFAULT, "waits_made");
    if (count < 3 || !made)
        return 2;
    is_seen = count == 4 && strcmp(arguments[3], "seen") == 0;
    is_signalled = count == 4 && !is_seen;
    sigprocmask(SIG_BLOCK, NULL, &open_mask);
    while (form < FORMS && strcmp(arguments[1], names[form]) != 0)
        form++;
    struct epoll_event event = {.events = EPOLLIN};
    pthread_t thread = 0;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    bind_unseen(SOCK_STREAM, arguments[2], &refusing);
    if (form == FORMS || pipe2(ends, O_CLOEXEC) != 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) != 0 ||
        pthread_create(&thread, NULL, overtake, NULL) != 0)
        die("begin");
    close(begin_connect()); /* rules are in force, and nothing is pending */
    wait_for_nothing(0);
    if (is_seen || is_signalled) {
        is_seen ? be_seen()
                : be_signalled(dlsym(RTLD_DEFAULT, "waits_signal"), strcmp(arguments[3], "restart") == 0);
        pthread_join(thread, NULL);
        return 0;
    }
    unsigned long before = *made;
    atomic_store(&has_begun, true);
    int ready = wait_for_nothing(TIMEOUT_MS);
    unsigned long waits = *made - before;
    pthread_join(thread, NULL);
    printf("%d %lu\n", ready, waits);
    return 0;
}
