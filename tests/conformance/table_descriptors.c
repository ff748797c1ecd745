/* Descriptors are copied, changed, shut, closed and accepted. After each step the socket is looked at, and used. */
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>

#include "conform.h"

static int copy_by_dup(int fd)
{
    return CALL_FD("dup", dup(fd));
}

static int copy_by_dup2(int fd)
{
    return CALL_FD("dup2", dup2(fd, 200));
}

static int copy_by_dup2_itself(int fd)
{
    return CALL_FD("dup2", dup2(fd, fd));
}

static int copy_by_dup3(int fd)
{
    return CALL_FD("dup3", dup3(fd, 201, O_CLOEXEC));
}

static int copy_by_dup3_itself(int fd)
{
    return CALL_FD("dup3", dup3(fd, fd, 0));
}

static int copy_by_dup3_unknown(int fd)
{
    return CALL_FD("dup3", dup3(fd, 202, 0x10));
}

static int copy_over_another(int fd)
{
    struct ends other;
    ends_open(&other, TCP4, BLOCKING, INWARD, false);
    int copy = CALL_FD("dup2", dup2(fd, other.fd));
    if (copy < 0)
        ends_close(&other);
    else
        end_reset(other.peer);
    return copy;
}

static int copy_negative(int fd)
{
    CALL_FD("dup2", dup2(fd, -1));
    CALL_FD("too_high", dup2(fd, 0x7ffffff0));
    return CALL_FD("fcntl", fcntl(fd, F_DUPFD, -1));
}

static int copy_by_fcntl(int fd)
{
    return CALL_FD("fcntl", fcntl(fd, F_DUPFD, 150));
}

static int copy_by_fcntl64(int fd)
{
    return CALL_FD("fcntl", fcntl64(fd, F_DUPFD, 150));
}

static int copy_by_fcntl_cloexec(int fd)
{
    return CALL_FD("fcntl", fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

static const struct {
    const char *name;
    int (*copy)(int fd);
} copies[] = {
    {"dup", copy_by_dup},
    {"dup2", copy_by_dup2},
    {"dup2_itself", copy_by_dup2_itself},
    {"dup3", copy_by_dup3},
    {"dup3_itself", copy_by_dup3_itself},
    {"dup3_unknown", copy_by_dup3_unknown},
    {"over_another", copy_over_another},
    {"negative", copy_negative},
    {"f_dupfd", copy_by_fcntl},
    {"f_dupfd_64", copy_by_fcntl64},
    {"f_dupfd_cloexec", copy_by_fcntl_cloexec},
};

/* What the program sees of a descriptor, and that data passes through it. */
static void look(struct ends *ends, int fd)
{
    char data[64];
    struct timeval own = {-1, -1};
    socklen_t length = sizeof own;
    CALL("fl", fcntl(fd, F_GETFL));
    CALL("fd", fcntl(fd, F_GETFD));
    CALL("time", getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &own, &length));
    say("(%ld.%06ld)", (long)own.tv_sec, (long)own.tv_usec);
    if (ends->peer >= 0)
        feed(ends, 20, 7);
    if (ends->kind < PLAIN_FILE) {
        CALL("read", read(fd, data, sizeof data));
        CALL("write", write(fd, "copy", 4));
    }
    if (ends->peer >= 0 && kind_is_socket(ends->kind))
        CALL("arrived", recv(ends->peer, data, sizeof data, MSG_DONTWAIT));
}

/* Which of the two goes first. */
static void cell_copy(enum kind kind, enum mode mode, size_t how, bool is_original_first)
{
    if (!cell_begin("copy %s %s %s %s", kind_names[kind], mode_names[mode], copies[how].name,
                    is_original_first ? "original_first" : "copy_first"))
        return;
    struct ends ends;
    if (ends_open(&ends, kind, mode, INWARD, false)) {
        struct timeval own = {7, 0};
        setsockopt(ends.fd, SOL_SOCKET, SO_RCVTIMEO, &own, sizeof own);
        int copy = copies[how].copy(ends.fd);
        if (copy >= 0 && copy != ends.fd) {
            look(&ends, copy);
            CALL("close", close(is_original_first ? ends.fd : copy));
            if (is_original_first)
                ends.fd = copy;
        }
        look(&ends, ends.fd);
        if (kind < CLOSED)
            CALL("close", close(ends.fd));
        CALL("close_again", close(ends.fd));
        ends.fd = -1;
        ends_close(&ends);
    }
    cell_end();
}

static void set_non_blocking(int fd, bool by_ioctl, int on)
{
    if (by_ioctl)
        CALL("ioctl", ioctl(fd, FIONBIO, &on));
    else
        CALL("fcntl", fcntl(fd, F_SETFL, on ? O_NONBLOCK : 0));
}

static void act_feed(struct ends *ends, int step)
{
    feed(ends, 20, step);
}

/* To and fro between blocking and not, by either way, on the socket or a copy, and what a read does then. */
static void cell_blocking(enum kind kind, enum mode mode, bool by_ioctl, bool on_copy)
{
    if (!cell_begin("mode %s %s %s %s", kind_names[kind], mode_names[mode], by_ioctl ? "FIONBIO" : "F_SETFL",
                    on_copy ? "on_copy" : "itself"))
        return;
    struct ends ends;
    if (ends_open(&ends, kind, mode, INWARD, false)) {
        char data[64];
        int changed = on_copy ? dup(ends.fd) : ends.fd;
        for (int turn = 0; turn < 4; turn++) {
            set_non_blocking(changed, by_ioctl, turn % 2 == 0);
            CALL("fl", fcntl(ends.fd, F_GETFL));
            helper_begin(&ends, (struct plan){act_feed, 1, NULL, false});
            CALL("read", read(ends.fd, data, sizeof data));
            helper_end();
        }
        CALL("bad_pointer", ioctl(changed, FIONBIO, bad_page()));
        CALL("bad_fionread", ioctl(changed, FIONREAD, bad_page()));
        CALL("unknown_fcntl", fcntl(changed, 12345, 1));
        CALL("unknown_ioctl", ioctl(changed, 0xdead, 1));
        if (on_copy && changed >= 0)
            close(changed);
        ends_close(&ends);
    }
    cell_end();
}

static void cell_shutdown(enum kind kind, enum mode mode, int how, bool has_data)
{
    if (!cell_begin("shutdown %s %s %d %s", kind_names[kind], mode_names[mode], how,
                    has_data ? "data" : "empty"))
        return;
    struct ends ends;
    if (ends_open(&ends, kind, mode, INWARD, false)) {
        char data[64];
        if (has_data)
            feed(&ends, 20, 1);
        CALL("shutdown", shutdown(ends.fd, how));
        say_poll_of(ends.fd);
        if (kind < PLAIN_FILE && (kind_is_socket(kind) || has_data))
            CALL("recv", recv(ends.fd, data, sizeof data, MSG_DONTWAIT));
        CALL("send", send(ends.fd, "x", 1, MSG_DONTWAIT));
        if (ends.peer >= 0) {
            say_poll_of(ends.peer);
            CALL("peer", recv(ends.peer, data, sizeof data, MSG_DONTWAIT));
        }
        CALL("again", shutdown(ends.fd, how));
        ends_close(&ends);
    }
    cell_end();
}

enum { ACCEPT, ACCEPT4, ACCEPT4_NONBLOCK, ACCEPT4_CLOEXEC, ACCEPT4_UNKNOWN, ACCEPTS };
static const char *const accept_names[] = {"accept", "accept4", "nonblock", "cloexec", "unknown"};

static int accept_by(int how, int fd, struct sockaddr *address, socklen_t *length)
{
    static const int flags[] = {0, 0, SOCK_NONBLOCK, SOCK_CLOEXEC, 0x40};
    return how == ACCEPT ? accept(fd, address, length) : accept4(fd, address, length, flags[how]);
}

static void cell_accept(enum kind kind, int how, socklen_t room, bool is_waiting)
{
    if (!cell_begin("accept %s - %s room=%d %s", kind_names[kind], accept_names[how], (int)room,
                    is_waiting ? "waiting" : "none"))
        return;
    struct sockaddr_storage address, from;
    socklen_t length = room;
    int listener = listener_of(kind), fd = -1;
    if (is_waiting) {
        socklen_t size;
        listener_address(kind, &address, &size);
        fd = socket(address.ss_family, kind == UNIX_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM, 0);
        connect(fd, (struct sockaddr *)&address, size);
    }
    fcntl(listener, F_SETFL, O_NONBLOCK);
    memset(&from, 0x77, sizeof from);
    int accepted = CALL_FD(
        "accept", accept_by(how, listener, room ? (struct sockaddr *)&from : NULL, room ? &length : NULL));
    if (accepted >= 0) {
        say_address("from", &from, room, length);
        CALL("fl", fcntl(accepted, F_GETFL));
        CALL("fd", fcntl(accepted, F_GETFD));
        send(fd, "hello", 5, 0);
        char data[16];
        CALL("recv", recv(accepted, data, sizeof data, 0));
        end_reset(accepted);
    } else if ((accepted = accept(listener, NULL, NULL)) >= 0) {
        end_reset(accepted);
    }
    fcntl(listener, F_SETFL, 0);
    if (fd >= 0)
        end_reset(fd);
    cell_end();
}

static void cell_pair(int family, int type, int protocol, bool is_bad)
{
    if (!cell_begin("socketpair %d %x %d%s", family, (unsigned)type, protocol, is_bad ? " bad" : ""))
        return;
    int pair[2] = {-1, -1};
    if (CALL("socketpair", socketpair(family, type, protocol, is_bad ? bad_page() : pair)) == 0) {
        say_fd("first", pair[0], 0);
        say_fd("second", pair[1], 0);
        CALL("fl", fcntl(pair[0], F_GETFL));
        CALL("fd", fcntl(pair[1], F_GETFD));
        CALL("write", write(pair[0], "x", 1));
        say_poll_of(pair[1]);
        close(pair[0]);
        close(pair[1]);
    }
    int fd = CALL_FD("socket", socket(family, type, protocol));
    if (fd >= 0) {
        CALL("fl", fcntl(fd, F_GETFL));
        close(fd);
    }
    cell_end();
}

void table_descriptors(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int mode = 0; mode < MODES; mode++) {
            for (size_t how = 0; how < COUNT_OF(copies); how++)
                for (int is_original = 0; is_original < 2; is_original++)
                    cell_copy(kind, mode, how, is_original);
            for (int variant = 0; variant < 4 && kind < PLAIN_FILE; variant++)
                cell_blocking(kind, mode, variant & 1, variant & 2);
            for (int how = -1; how < 4; how++)
                for (int has_data = 0; has_data < 2; has_data++)
                    if (kind != PIPE)
                        cell_shutdown(kind, mode, how, has_data);
        }
    static const enum kind listening[] = {TCP4, TCP6, UNIX_STREAM, UNIX_SEQPACKET};
    static const socklen_t rooms[] = {0, 2, 10, sizeof(struct sockaddr_storage), (socklen_t)-1};
    for (size_t k = 0; k < COUNT_OF(listening); k++)
        for (int how = 0; how < ACCEPTS; how++)
            for (size_t r = 0; r < COUNT_OF(rooms); r++)
                for (int is_waiting = 0; is_waiting < 2; is_waiting++)
                    cell_accept(listening[k], how, rooms[r], is_waiting);
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6, 99};
    static const int types[] = {SOCK_STREAM,
                                SOCK_DGRAM,
                                SOCK_SEQPACKET,
                                SOCK_STREAM | SOCK_NONBLOCK,
                                SOCK_STREAM | SOCK_CLOEXEC,
                                SOCK_STREAM | 0x1000,
                                0};
    static const int protocols[] = {0, IPPROTO_TCP, IPPROTO_UDP, 77};
    for (size_t f = 0; f < COUNT_OF(families); f++)
        for (size_t t = 0; t < COUNT_OF(types); t++)
            for (size_t p = 0; p < COUNT_OF(protocols); p++)
                for (int is_bad = 0; is_bad < 2; is_bad++)
                    cell_pair(families[f], types[t], protocols[p], is_bad);
}
