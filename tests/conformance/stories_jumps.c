/* A handler jumps out of a call that never returns; the program goes on with the same sockets, and with others. */
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

#include "conform.h"

static sigjmp_buf back;

static void jump(int number)
{
    (void)number;
    atomic_store(&calling, RETURNED);
    siglongjmp(back, 1);
}

static void act_signal(struct ends *ends, int step)
{
    (void)ends;
    (void)step;
    helper_signal();
}

enum { FROM_RECV, FROM_WAITALL, FROM_READ, FROM_POLL, FROM_SEND, FROM_CONNECT, PLACES };
static const char *const names[] = {"recv", "waitall", "read", "poll", "send", "connect"};
static char big[4 << 20];

static void wait_in(int place, struct ends *ends, const struct black_hole *hole)
{
    char data[64];
    struct pollfd wanted = {.fd = ends->fd, .events = POLLIN};
    errno = ERRNO_SENTINEL;
    atomic_store(&calling, CALLING);
    if (place == FROM_RECV)
        recv(ends->fd, data, sizeof data, 0);
    else if (place == FROM_WAITALL)
        recv(ends->fd, data, sizeof data, MSG_WAITALL);
    else if (place == FROM_READ)
        read(ends->fd, data, sizeof data);
    else if (place == FROM_POLL)
        poll(&wanted, 1, 5000);
    else if (place == FROM_SEND)
        for (;;)
            send(ends->fd, big, sizeof big, MSG_NOSIGNAL);
    else
        connect(hole->waiting[0], (const struct sockaddr *)&hole->address, sizeof(struct sockaddr_in));
    atomic_store(&calling, RETURNED);
    say(" returned");
}

static void cell(enum kind kind, int place, bool is_restarting)
{
    if (!cell_begin("jump %s %s %s", kind_names[kind], names[place],
                    is_restarting ? "restarting" : "interrupting"))
        return;
    struct sigaction action = {.sa_handler = jump, .sa_flags = is_restarting ? SA_RESTART : 0};
    struct black_hole hole = {.fd = -1};
    struct ends ends;
    sigaction(SIGUSR1, &action, NULL);
    ends_open(&ends, kind, BLOCKING, INWARD, false);
    if (place == FROM_CONNECT) {
        hole = black_hole_open();
        end_reset(hole.waiting[0]);
        hole.waiting[0] = socket(AF_INET, SOCK_STREAM, 0);
    }
    for (volatile int turn = 0; turn < 3; turn++) {
        helper_begin(&ends, (struct plan){act_signal, 1, NULL, false});
        if (sigsetjmp(back, 1) == 0)
            wait_in(place, &ends, &hole);
        else
            say(" jumped");
        helper_end();
    }
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    int blocked = 0;
    for (int number = 1; number < NSIG; number++)
        blocked += sigismember(&mask, number) == 1;
    say(" blocked=%d", blocked);
    if (place != FROM_SEND) {
        char data[64];
        feed(&ends, 20, 1);
        CALL("recv", recv(ends.fd, data, sizeof data, 0));
        CALL("send", send(ends.fd, "x", 1, MSG_NOSIGNAL));
        say_poll_of(ends.fd);
    }
    struct ends other;
    ends_open(&other, kind, BLOCKING, INWARD, false);
    feed(&other, 20, 2);
    char data[64];
    CALL("other", recv(other.fd, data, sizeof data, 0));
    ends_close(&other);
    ends_close(&ends);
    if (place == FROM_CONNECT)
        black_hole_close(&hole);
    signal(SIGUSR1, SIG_DFL);
    cell_end();
}

void stories_jumps(void)
{
    static const enum kind kinds[] = {TCP4, UNIX_STREAM};
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (int place = 0; place < PLACES; place++)
            for (int is_restarting = 0; is_restarting < 2; is_restarting++)
                cell(kinds[k], place, is_restarting);
}
