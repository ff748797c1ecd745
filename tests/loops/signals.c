/* Is told by signals while it waits with connects pending that have not ended: no signal is lost.
 *
 *   signals poll|select|epoll|ppoll|pselect|epoll_pwait|epoll_pwait2 ROUNDS REFUSING SILENT
 *
 * The last two are addresses (127.x.y.z) where connects are refused, and not answered, by servers of its own. The handler
 * has no SA_RESTART. Another process sends one signal in each round, at a random moment: for the plain forms once the
 * program is asleep in its wait, which must end with EINTR; for the p-forms at any time, since the signal gets through
 * only inside the wait. Prints how many rounds were interrupted, and what else was seen. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unseen.h"

#define CONNECTS    32
#define PATIENCE_MS 20000

enum form { POLL, SELECT, EPOLL, PPOLL, PSELECT, EPOLL_PWAIT, EPOLL_PWAIT2, FORMS };

/* What the two processes know of each other. */
struct shared {
    _Atomic unsigned round; /* the program has begun to wait for the signal of this one; ~0: it ends */
    _Atomic unsigned sent;  /* the signal of this round has been sent */
};

static enum form form;
static struct shared *shared;
static struct sockaddr_in addresses[2];
static int connects[CONNECTS], epoll;
static _Atomic unsigned handled;

static void handle(int number)
{
    (void)number;
    handled++;
}

/* The other process. */
static void send_signals(pid_t program, unsigned rounds)
{
    for (unsigned round = 1; round <= rounds; round++) {
        unsigned now;
        while ((now = atomic_load(&shared->round)) < round)
            pause_us(50);
        if (now == ~0u)
            return;
        while (form < PPOLL && !is_asleep(program, program))
            pause_us(20);
        pause_us((unsigned)random() % 3000);
        kill(program, SIGUSR1);
        atomic_store(&shared->sent, round);
    }
}

/* The servers, which no hook sees. */
static void open_server(struct sockaddr_in *address, const char *where, bool listens)
{
    socklen_t length = sizeof *address;
    int fd = bind_unseen(SOCK_STREAM, where, address);
    int filler = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listens && (syscall(SYS_listen, fd, 0) != 0 || syscall(SYS_connect, filler, address, length) != 0))
        die("listen");
}

/* The program. */
static void begin_connects(void)
{
    for (unsigned i = 0; i < CONNECTS; i++) {
        if (connects[i] > 0)
            close(connects[i]);
        connects[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connects[i] < 0)
            die("socket");
        connect(connects[i], (struct sockaddr *)&addresses[i % 2], sizeof addresses[0]);
        struct epoll_event event = {.events = EPOLLOUT, .data.fd = connects[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, connects[i], &event) != 0)
            die("epoll_ctl");
    }
}

static int wait_for_signal(const sigset_t *open)
{
    struct timespec time = {PATIENCE_MS / 1000, 0};
    struct timeval same = {PATIENCE_MS / 1000, 0};
    struct pollfd fds[CONNECTS];
    struct epoll_event events[CONNECTS];
    fd_set writes;
    FD_ZERO(&writes);
    int most = 0;
    for (unsigned i = 0; i < CONNECTS; i++) {
        fds[i] = (struct pollfd){.fd = connects[i], .events = POLLOUT};
        FD_SET(connects[i], &writes);
        most = connects[i] > most ? connects[i] : most;
    }
    switch (form) {
    case POLL:
        return poll(fds, CONNECTS, PATIENCE_MS);
    case SELECT:
        return select(most + 1, NULL, &writes, NULL, &same);
    case EPOLL:
        return epoll_wait(epoll, events, CONNECTS, PATIENCE_MS);
    case PPOLL:
        return ppoll(fds, CONNECTS, &time, open);
    case PSELECT:
        return pselect(most + 1, NULL, &writes, NULL, &time, open);
    case EPOLL_PWAIT:
        return epoll_pwait(epoll, events, CONNECTS, PATIENCE_MS, open);
    default:
        return epoll_pwait2(epoll, events, CONNECTS, &time, open);
    }
}

int main(int count, char **arguments)
{
    static const char *const names[FORMS] = {"poll",    "select",      "epoll",       "ppoll",
                                             "pselect", "epoll_pwait", "epoll_pwait2"};
    if (count != 5)
        return 2;
    while (form < FORMS && strcmp(arguments[1], names[form]) != 0)
        form++;
    unsigned rounds = (unsigned)atoi(arguments[2]), interrupted = 0, lost = 0, shown = 0, outside = 0;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct sigaction action = {.sa_handler = handle};
    sigset_t closed, open;
    sigemptyset(&closed);
    sigaddset(&closed, SIGUSR1);
    if (form == FORMS || epoll < 0 || shared == MAP_FAILED || sigaction(SIGUSR1, &action, NULL) != 0)
        die("begin");
    if (form >= PPOLL)
        sigprocmask(SIG_BLOCK, &closed, NULL);
    sigprocmask(SIG_BLOCK, NULL, &open);
    sigdelset(&open, SIGUSR1);
    open_server(&addresses[0], arguments[3], false);
    open_server(&addresses[1], arguments[4], true);
    pid_t program = getpid(), sender = fork();
    if (sender == 0) {
        send_signals(program, rounds);
        _exit(0);
    }
    for (unsigned round = 1; round <= rounds && !lost && !shown; round++) {
        begin_connects();
        unsigned before = atomic_load(&handled);
        atomic_store(&shared->round, round);
        int ready = wait_for_signal(&open);
        bool is_interrupted = ready < 0 && errno == EINTR;
        interrupted += is_interrupted && atomic_load(&handled) == before + 1;
        shown += ready > 0;
        lost += ready == 0;
        while (is_interrupted && atomic_load(&shared->sent) < round)
            pause_us(20);
        outside += atomic_load(&handled) != before + is_interrupted;
    }
    atomic_store(&shared->round, ~0u);
    waitpid(sender, NULL, 0);
    printf("{\"interrupted\": %u, \"handled\": %u, \"lost\": %u, \"shown\": %u, \"outside\": %u}\n",
           interrupted, handled, lost, shown, outside);
    return 0;
}
