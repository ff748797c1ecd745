/* poll, select and epoll in all their forms, on every kind of descriptor and what may have happened to it. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#include "conform.h"

extern int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);
extern int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask,
                       size_t room);

#define WAIT_MS 3
static const struct timespec wait_time = {0, WAIT_MS * 1000000};

static void by_poll(int fd)
{
    struct pollfd wanted[2] = {{.fd = fd, .events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP}, {.fd = -1}};
    CALL("poll", poll(wanted, 2, WAIT_MS));
    say_poll("is", wanted[0].revents);
    wanted[0].events = POLLIN;
    CALL("poll_in", poll(wanted, 1, WAIT_MS));
    say_poll("is", wanted[0].revents);
    CALL("chk", __poll_chk(wanted, 1, 0, sizeof wanted));
    CALL("bad", poll(bad_page(), 1, 0));
}

static void by_ppoll(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN | POLLRDHUP};
    sigset_t mask;
    sigemptyset(&mask);
    CALL("ppoll", ppoll(&wanted, 1, &wait_time, &mask));
    say_poll("is", wanted.revents);
    CALL("chk", __ppoll_chk(&wanted, 1, &wait_time, NULL, sizeof wanted));
    CALL("bad_time", ppoll(&wanted, 1, &(struct timespec){0, 2000000000}, NULL));
}

static void by_select(int fd)
{
    if (fd < 0 || fd >= FD_SETSIZE)
        return;
    fd_set reads, writes, excepts;
    FD_ZERO(&reads);
    FD_SET(fd, &reads);
    writes = excepts = reads;
    CALL("select", select(fd + 1, &reads, &writes, &excepts, &(struct timeval){0, WAIT_MS * 1000}));
    say(" %d%d%d", FD_ISSET(fd, &reads) != 0, FD_ISSET(fd, &writes) != 0, FD_ISSET(fd, &excepts) != 0);
    FD_SET(fd, &reads);
    CALL("pselect", pselect(fd + 1, &reads, NULL, NULL, &wait_time, NULL));
    say(" %d", FD_ISSET(fd, &reads) != 0);
    CALL("negative", select(-1, NULL, NULL, NULL, &(struct timeval){0, 0}));
}

static void by_epoll(int fd)
{
    int epoll = CALL_FD("create", epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u32 = 42},
                       seen[2] = {0};
    CALL("add", epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    CALL("add_again", epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    CALL("wait", epoll_wait(epoll, seen, 2, WAIT_MS));
    say(" %x:%u", seen[0].events, seen[0].data.u32);
    CALL("edge", epoll_pwait(epoll, seen, 2, 0, NULL));
    event.events = EPOLLIN | EPOLLONESHOT;
    CALL("mod", epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event));
    CALL("wait2", epoll_pwait2(epoll, seen, 2, &wait_time, NULL));
    say(" %x:%u", seen[0].events, seen[0].data.u32);
    CALL("none", epoll_wait(epoll, seen, 0, 0));
    CALL("bad", epoll_wait(epoll, bad_page(), 1, 0));
    CALL("del", epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL));
    CALL("unknown", epoll_ctl(epoll, 9, fd, &event));
    close(epoll);
}

static const struct {
    const char *name;
    void (*make)(int fd);
} waits[] = {{"poll", by_poll}, {"ppoll", by_ppoll}, {"select", by_select}, {"epoll", by_epoll}};

enum { QUIET, DATA, PEER_CLOSED, PEER_RESET, HALF_CLOSED, OWN_SHUT, URGENT, STATES };
static const char *const state_names[STATES] = {"quiet",       "data",     "closed", "reset",
                                                "half_closed", "own_shut", "urgent"};

static void bring_into(struct ends *ends, int state)
{
    switch (state) {
    case DATA:
        feed(ends, 20, 1);
        break;
    case PEER_CLOSED:
        close(ends->peer);
        ends->peer = -1;
        break;
    case PEER_RESET:
        end_reset(ends->peer);
        ends->peer = -1;
        break;
    case HALF_CLOSED:
        shutdown(ends->peer, SHUT_WR);
        break;
    case OWN_SHUT:
        shutdown(ends->fd, SHUT_RDWR);
        break;
    case URGENT:
        send(ends->peer, "!", 1, MSG_OOB | MSG_NOSIGNAL);
        break;
    }
}

void table_waits(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int mode = 0; mode < MODES; mode++)
            for (size_t w = 0; w < COUNT_OF(waits); w++)
                for (int state = 0; state < STATES; state++) {
                    if (state != QUIET && kind > PAIR)
                        continue;
                    if (!cell_begin("wait %s %s %s %s", kind_names[kind], mode_names[mode], waits[w].name,
                                    state_names[state]))
                        continue;
                    struct ends ends;
                    if (ends_open(&ends, kind, mode, INWARD, false)) {
                        bring_into(&ends, state);
                        waits[w].make(ends.fd);
                        ends_close(&ends);
                    }
                    cell_end();
                }
}
