/* A signal comes while a call waits: with SA_RESTART the call goes on, without it ends with EINTR; and with a timeout of
 * the program's own it ends either way. */
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <unistd.h>

#include "conform.h"

static int handled;
static char data[64];

static void handle(int number)
{
    (void)number;
    handled++;
}

static void wait_recv(struct ends *ends)
{
    CALL("recv", recv(ends->fd, data, 30, 0));
}

static void wait_recv_all(struct ends *ends)
{
    CALL("recv", recv(ends->fd, data, 30, MSG_WAITALL));
}

static void wait_some_recv_all(struct ends *ends)
{
    feed(ends, 10, 1);
    CALL("recv", recv(ends->fd, data, 30, MSG_WAITALL));
}

static void wait_read(struct ends *ends)
{
    CALL("read", read(ends->fd, data, 30));
}

static void wait_readv(struct ends *ends)
{
    CALL("readv", readv(ends->fd, &(struct iovec){data, 30}, 1));
}

static void wait_recvfrom(struct ends *ends)
{
    CALL("recvfrom", recvfrom(ends->fd, data, 30, 0, NULL, NULL));
}

static void wait_recvmsg(struct ends *ends)
{
    struct msghdr message = {.msg_iov = &(struct iovec){data, 30}, .msg_iovlen = 1};
    CALL("recvmsg", recvmsg(ends->fd, &message, 0));
}

static void wait_recvmmsg(struct ends *ends)
{
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &(struct iovec){data, 30}, .msg_iovlen = 1}};
    CALL("recvmmsg", recvmmsg(ends->fd, &message, 1, 0, NULL));
}

static void wait_poll(struct ends *ends)
{
    struct pollfd wanted = {.fd = ends->fd, .events = POLLIN};
    CALL("poll", poll(&wanted, 1, 5000));
    say_poll("seen", wanted.revents);
}

static void wait_select(struct ends *ends)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends->fd, &set);
    CALL("select", select(ends->fd + 1, &set, NULL, NULL, &(struct timeval){5, 0}));
}

static void wait_epoll(struct ends *ends)
{
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(epoll, EPOLL_CTL_ADD, ends->fd, &event);
    CALL("epoll", epoll_wait(epoll, &event, 1, 5000));
    close(epoll);
}

/* The mask lets the signal in, which is blocked outside. */
static void wait_ppoll(struct ends *ends)
{
    struct pollfd wanted = {.fd = ends->fd, .events = POLLIN};
    sigset_t one, none;
    sigemptyset(&none);
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    sigprocmask(SIG_BLOCK, &one, NULL);
    CALL("ppoll", ppoll(&wanted, 1, &(struct timespec){5, 0}, &none));
    sigprocmask(SIG_UNBLOCK, &one, NULL);
}

static void act_receive(struct ends *ends, int step)
{
    if (step == 0)
        helper_signal();
    else
        feed(ends, 30, step);
}

static void act_receive_twice(struct ends *ends, int step)
{
    if (step < 3)
        helper_signal();
    else
        feed(ends, 30, step);
}

static void act_in_parts(struct ends *ends, int step)
{
    if (step == 1)
        helper_signal();
    else
        feed(ends, 15, step);
}

static const struct {
    const char *name;
    void (*act)(struct ends *ends, int step);
    int steps;
} orders[] = {{"signal_then_data", act_receive, 2},
              {"signals_then_data", act_receive_twice, 4},
              {"data_signal_data", act_in_parts, 3}};

static const struct {
    const char *name;
    void (*make)(struct ends *ends);
} waits[] = {
    {"recv", wait_recv},       {"recv_all", wait_recv_all}, {"some_recv_all", wait_some_recv_all},
    {"read", wait_read},       {"readv", wait_readv},       {"recvfrom", wait_recvfrom},
    {"recvmsg", wait_recvmsg}, {"recvmmsg", wait_recvmmsg}, {"poll", wait_poll},
    {"select", wait_select},   {"epoll", wait_epoll},       {"ppoll", wait_ppoll},
};

static void end_of_stream(struct ends *ends)
{
    shutdown(ends->peer, SHUT_WR);
}

static void install(bool is_restarting)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = is_restarting ? SA_RESTART : 0};
    sigaction(SIGUSR1, &action, NULL);
    handled = 0;
}

static void set_own(int fd, int option)
{
    struct timeval own = {5, 0};
    setsockopt(fd, SOL_SOCKET, option, &own, sizeof own);
}

static void finish(struct ends *ends)
{
    say(" handled=%d", handled);
    say_data("data", data, sizeof data);
    say_poll_of(ends->fd);
    ends_close(ends);
    signal(SIGUSR1, SIG_DFL);
    cell_end();
}

static void cell_receive(enum kind kind, bool has_asked, bool is_restarting, bool has_own, size_t order,
                         size_t wait)
{
    if (!cell_begin("signal %s%s %s%s %s %s", kind_names[kind], has_asked ? " asked" : "",
                    is_restarting ? "restarting" : "interrupting", has_own ? " own_timeout" : "",
                    orders[order].name, waits[wait].name))
        return;
    struct ends ends;
    memset(data, 0, sizeof data);
    if (!ends_open(&ends, kind, BLOCKING, INWARD, false)) {
        cell_end();
        return;
    }
    install(is_restarting);
    if (has_own)
        set_own(ends.fd, SO_RCVTIMEO);
    if (has_asked)
        send(ends.fd, "ask", 3, 0);
    helper_begin(&ends, (struct plan){orders[order].act, orders[order].steps, end_of_stream, false});
    waits[wait].make(&ends);
    helper_end();
    finish(&ends);
}

static void act_signal(struct ends *ends, int step)
{
    (void)ends;
    (void)step;
    helper_signal();
}

static void drain(struct ends *ends)
{
    static char sink[64 << 10];
    while (recv(ends->peer, sink, sizeof sink, MSG_DONTWAIT) > 0)
        ;
}

static char big[400000];

static void say_sent(ssize_t sent, int error)
{
    if (sent > 0 && (size_t)sent < sizeof big)
        say(" sent=part/%s", error == ERRNO_SENTINEL ? "kept" : strerrorname_np(error));
    else
        say_result("sent", sent, error);
}

static void cell_send(enum kind kind, bool is_restarting, bool has_own, int function)
{
    static const char *const names[] = {"send", "write", "sendmsg", "writev"};
    if (!cell_begin("signal %s %s%s sending %s", kind_names[kind],
                    is_restarting ? "restarting" : "interrupting", has_own ? " own_timeout" : "",
                    names[function]))
        return;
    struct ends ends;
    if (!ends_open(&ends, kind, BLOCKING, OUTWARD, true)) {
        cell_end();
        return;
    }
    install(is_restarting);
    if (has_own)
        set_own(ends.fd, SO_SNDTIMEO);
    struct iovec part = {big, sizeof big};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    for (int turn = 0, again = 0; turn < 2;
         turn++) { /* the first has room for a part of it, the second for none */
        if (turn)
            while (send(ends.fd, big, 100, MSG_DONTWAIT) > 0)
                ;
        int handled_before = handled;
        helper_begin(&ends, (struct plan){act_signal, 1, drain, true});
        errno = ERRNO_SENTINEL;
        atomic_store(&calling, CALLING);
        ssize_t sent = function == 0   ? send(ends.fd, big, sizeof big, 0)
                       : function == 1 ? write(ends.fd, big, sizeof big)
                       : function == 2 ? sendmsg(ends.fd, &message, 0)
                                       : writev(ends.fd, &part, 1);
        int error = errno;
        atomic_store(&calling, RETURNED);
        helper_end();
        if (turn && sent > 0 && (size_t)sent < sizeof big && again++ < 5) {
            /* There was room after all: the peer's kernel took more of its own accord, by a window probe. */
            handled = handled_before;
            turn--;
            continue;
        }
        say(" turn %d:", turn);
        say_sent(sent, error);
        if (!turn)
            pause_ms(1);
    }
    say(" handled=%d", handled);
    ends_close(&ends);
    signal(SIGUSR1, SIG_DFL);
    cell_end();
}

static struct black_hole hole;

static void act_signal_then_refuse(struct ends *ends, int step)
{
    (void)ends;
    if (step == 0)
        helper_signal();
    else
        end_reset(hole.fd);
}

/* The SYN goes out again after a second, and is refused then. */
static void cell_connect(bool is_restarting, bool has_own, bool is_told)
{
    if (!cell_begin("signal connect %s%s%s", is_restarting ? "restarting" : "interrupting",
                    has_own ? " own_timeout" : "", is_told ? " refused" : ""))
        return;
    hole = black_hole_open();
    struct ends ends = {.kind = TCP4, .fd = socket(AF_INET, SOCK_STREAM, 0), .peer = -1};
    install(is_restarting);
    if (has_own)
        set_own(ends.fd, SO_SNDTIMEO);
    helper_begin(&ends, (struct plan){act_signal_then_refuse, is_told ? 2 : 1, NULL, false});
    CALL("connect", connect(ends.fd, (struct sockaddr *)&hole.address, sizeof(struct sockaddr_in)));
    helper_end();
    int error = -1;
    socklen_t length = sizeof error;
    CALL("so_error", getsockopt(ends.fd, SOL_SOCKET, SO_ERROR, &error, &length));
    say("=%d", error);
    black_hole_close(&hole);
    finish(&ends);
}

void table_signals(void)
{
    static const enum kind kinds[] = {TCP4, UNIX_STREAM};
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (int is_restarting = 0; is_restarting < 2; is_restarting++)
            for (int has_own = 0; has_own < 2; has_own++) {
                for (int has_asked = 0; has_asked < 2; has_asked++)
                    for (size_t o = 0; o < COUNT_OF(orders); o++)
                        for (size_t w = 0; w < COUNT_OF(waits); w++)
                            cell_receive(kinds[k], has_asked, is_restarting, has_own, o, w);
                for (int function = 0; function < 4; function++)
                    cell_send(kinds[k], is_restarting, has_own, function);
            }
    cell_connect(false, false, false);
    cell_connect(false, true, false);
    cell_connect(true, true, false);
    cell_connect(true, false, true);
}
