/* What travels beside the data: descriptors, credentials, timestamps, packet information, the error queue; and what of
 * it is cut off (MSG_CTRUNC, MSG_TRUNC). */
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "conform.h"

static void send_rights(struct ends *ends)
{
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr aligned;
    } control = {{0}};
    struct iovec part = {(void *)"rights", 6};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *first = CMSG_FIRSTHDR(&message);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(first), (int[]){ends->fd, ends->peer}, 2 * sizeof(int));
    CALL("sent", sendmsg(ends->peer, &message, MSG_NOSIGNAL));
}

static void want(struct ends *ends, int level, int option)
{
    int on = 1;
    setsockopt(ends->fd, level, option, &on, sizeof on);
}

static void send_stamped(struct ends *ends)
{
    want(ends, SOL_SOCKET, SO_TIMESTAMP);
    feed(ends, 30, 1);
}

static void send_told(struct ends *ends)
{
    want(ends, IPPROTO_IP, IP_PKTINFO);
    feed(ends, 30, 2);
}

static void send_with_credentials(struct ends *ends)
{
    want(ends, SOL_SOCKET, SO_PASSCRED);
    feed(ends, 30, 3);
}

static void send_plain(struct ends *ends)
{
    feed(ends, 30, 4);
}

/* The other side is gone: what we send comes back as an ICMP error. */
static void provoke_error(struct ends *ends)
{
    want(ends, IPPROTO_IP, IP_RECVERR);
    close(ends->peer);
    ends->peer = -1;
    CALL("sent", send(ends->fd, "lost", 4, MSG_NOSIGNAL));
}

static void provoke_zero_copy_note(struct ends *ends)
{
    char sink[8];
    want(ends, SOL_SOCKET, SO_ZEROCOPY);
    CALL("sent", send(ends->fd, "zero", 4, MSG_NOSIGNAL | MSG_ZEROCOPY));
    recv(ends->peer, sink, sizeof sink, MSG_DONTWAIT);
    feed(ends, 10, 5);
}

static const struct {
    const char *name;
    void (*before)(struct ends *ends);
} messages[] = {
    {"plain", send_plain},
    {"rights", send_rights},
    {"timestamp", send_stamped},
    {"pktinfo", send_told},
    {"icmp_error", provoke_error},
    {"credentials", send_with_credentials},
    {"zero_copy", provoke_zero_copy_note},
};
static const size_t rooms[] = {0, 4, CMSG_LEN(0), CMSG_SPACE(sizeof(int)), 256};
static const int all_flags[] = {
    0, MSG_CMSG_CLOEXEC, MSG_PEEK, MSG_WAITALL, MSG_ERRQUEUE, MSG_ERRQUEUE | MSG_DONTWAIT, MSG_TRUNC};
static const size_t sizes[] = {100, 5};

static void end_of_stream(struct ends *ends)
{
    if (ends->peer < 0 || shutdown(ends->peer, SHUT_WR) != 0)
        shutdown(ends->fd, SHUT_RDWR);
}

static void cell(enum kind kind, enum mode mode, size_t m, size_t room, int flags, size_t size)
{
    if (!cell_begin("message %s %s %s room=%zu flags=%x size=%zu", kind_names[kind], mode_names[mode],
                    messages[m].name, room, (unsigned)flags, size))
        return;
    struct ends ends;
    if (ends_open(&ends, kind, mode, INWARD, false)) {
        messages[m].before(&ends);
        union {
            char bytes[256];
            struct cmsghdr aligned;
        } control;
        memset(&control, 0xcc, sizeof control);
        char data[128];
        memset(data, 0xaa, sizeof data);
        struct iovec part = {data, size};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = room ? &control : NULL, .msg_controllen = room};
        helper_begin(&ends, (struct plan){NULL, 0, end_of_stream, false});
        long got = CALL("recvmsg", recvmsg(ends.fd, &message, flags));
        helper_end();
        if (got >= 0)
            say_message(&message);
        say_data("data", data, sizeof data);
        say_poll_of(ends.fd);
        CALL("again", recv(ends.fd, data, sizeof data, MSG_DONTWAIT));
        ends_close(&ends);
    }
    cell_end();
}

void table_messages(void)
{
    static const enum kind kinds[] = {TCP4, TCP4IN6, UDP4, UNIX_STREAM, UNIX_DGRAM, UNIX_SEQPACKET, PAIR};
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (int mode = 0; mode < BORN_NON_BLOCKING; mode++)
            for (size_t m = 0; m < COUNT_OF(messages); m++)
                for (size_t r = 0; r < COUNT_OF(rooms); r++)
                    for (size_t f = 0; f < COUNT_OF(all_flags); f++)
                        for (size_t s = 0; s < COUNT_OF(sizes); s++)
                            if (s == 0 || (f < 4 && kinds[k] != TCP4IN6))
                                cell(kinds[k], mode, m, rooms[r], all_flags[f], sizes[s]);
}
