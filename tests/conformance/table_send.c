/* Every function that sends x every kind of descriptor x flags x how much room there is. What arrives is compared too. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>

#include "conform.h"

#define BIG_BYTES (600u << 10)
#define FILLER    'F' /* never in a payload */

struct shipment {
    int fd;
    char *data;
    size_t size;
    int flags;
    const struct ends *ends;
    bool is_class_only; /* a partial count depends on the weather: say only that it is one */
};

static void said(const struct shipment *s, const char *what, long result, int error)
{
    if (s->is_class_only && result > 0 && (size_t)result < s->size)
        say(" %s=part/%s", what, error == ERRNO_SENTINEL ? "kept" : strerrorname_np(error));
    else
        say_result(what, result, error);
}

#define SEND(what, expression)                                                                               \
    ({                                                                                                       \
        errno = ERRNO_SENTINEL;                                                                              \
        atomic_store(&calling, CALLING);                                                                     \
        long sent_ = (long)(expression);                                                                     \
        int error_ = errno;                                                                                  \
        atomic_store(&calling, RETURNED);                                                                    \
        said(s, what, sent_, error_);                                                                        \
    })

static const struct sockaddr *address_of(const struct shipment *s)
{
    return (const struct sockaddr *)&s->ends->address;
}

static void make_send(const struct shipment *s)
{
    SEND("send", send(s->fd, s->data, s->size, s->flags));
}

static void make_write(const struct shipment *s)
{
    SEND("write", write(s->fd, s->data, s->size));
}

static void make_sendto(const struct shipment *s)
{
    SEND("sendto", sendto(s->fd, s->data, s->size, s->flags, NULL, 0));
}

static void make_sendto_address(const struct shipment *s)
{
    SEND("sendto", sendto(s->fd, s->data, s->size, s->flags, address_of(s), s->ends->length));
}

static void make_sendto_short(const struct shipment *s)
{
    SEND("sendto", sendto(s->fd, s->data, s->size, s->flags, address_of(s), 3));
}

static int split(const struct shipment *s, struct iovec parts[3])
{
    size_t first = s->size / 3;
    parts[0] = (struct iovec){s->data, first};
    parts[1] = (struct iovec){NULL, 0};
    parts[2] = (struct iovec){s->data ? s->data + first : NULL, s->size - first};
    return 3;
}

static void make_writev(const struct shipment *s)
{
    struct iovec parts[3];
    int count = split(s, parts);
    SEND("writev", writev(s->fd, parts, count));
}

static void make_sendmsg(const struct shipment *s)
{
    struct iovec parts[3];
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)split(s, parts), .msg_flags = 0x5555};
    SEND("sendmsg", sendmsg(s->fd, &message, s->flags));
}

static void make_sendmmsg(const struct shipment *s)
{
    struct iovec parts[2][3];
    char second[] = "second";
    struct shipment other = {.data = second, .size = 6};
    struct mmsghdr messages[2] = {0};
    messages[0].msg_hdr.msg_iov = parts[0];
    messages[1].msg_hdr.msg_iov = parts[1];
    messages[0].msg_hdr.msg_iovlen = (size_t)split(s, parts[0]);
    messages[1].msg_hdr.msg_iovlen = (size_t)split(&other, parts[1]);
    messages[0].msg_len = messages[1].msg_len = 77;
    CALL("sendmmsg", sendmmsg(s->fd, messages, 2, s->flags));
    if (!s->is_class_only)
        say(" len=%u,%u", messages[0].msg_len, messages[1].msg_len);
}

static const struct sender {
    const char *name;
    bool has_flags;
    void (*make)(const struct shipment *s);
} senders[] = {
    {"send", true, make_send},
    {"write", false, make_write},
    {"writev", false, make_writev},
    {"sendto", true, make_sendto},
    {"sendto_address", true, make_sendto_address},
    {"sendto_short", false, make_sendto_short},
    {"sendmsg", true, make_sendmsg},
    {"sendmmsg", true, make_sendmmsg},
};

static const struct flag {
    const char *name;
    int flags;
} all_flags[] = {
    {"0", 0},         {"nosignal", MSG_NOSIGNAL}, {"dontwait", MSG_DONTWAIT}, {"more", MSG_MORE},
    {"oob", MSG_OOB}, {"waitall", MSG_WAITALL},   {"peek", MSG_PEEK},         {"dontroute", MSG_DONTROUTE},
    {"eor", MSG_EOR}, {"errqueue", MSG_ERRQUEUE}, {"unknown", 0x8000000},
};
#define FEW_FLAGS 5

/* What arrived: payload only, filler aside. */
static struct arrival {
    uint64_t hash;
    size_t size;
} arrived;

static void drain(struct ends *ends)
{
    static char data[64 << 10];
    if (ends->peer < 0)
        return;
    for (;;) {
        ssize_t size;
        int waiting = 0;
        if (kind_is_socket(ends->kind))
            size = recv(ends->peer, data, sizeof data, MSG_DONTWAIT);
        else
            size = ioctl(ends->peer, FIONREAD, &waiting) == 0 && waiting ? read(ends->peer, data, sizeof data)
                                                                         : -1;
        if (size <= 0)
            return;
        size_t from = 0;
        while (from < (size_t)size && data[from] == FILLER)
            from++;
        arrived.hash = hash_of(data + from, (size_t)size - from, arrived.hash);
        arrived.size += (size_t)size - from;
    }
}

static void fill(struct ends *ends)
{
    static char data[4096];
    memset(data, FILLER, sizeof data);
    int wait = 0, no_wait = 1;
    ioctl(ends->fd, FIONBIO, &no_wait);
    /* Acknowledgements make room again, and they may be late: full is where none is due and nothing fits any more. */
    for (int idle = 0, tries = 0; idle < 12 && tries < 1000; tries++) {
        bool has_written = false;
        for (size_t size = sizeof data; size; size /= 2)
            while (write(ends->fd, data, size) > 0)
                has_written = true;
        if (!kind_is_tcp(ends->kind))
            break;
        struct tcp_info info = {0};
        socklen_t length = sizeof info;
        int now = 1;
        setsockopt(ends->peer, IPPROTO_TCP, TCP_QUICKACK, &now, sizeof now);
        getsockopt(ends->fd, IPPROTO_TCP, TCP_INFO, &info, &length);
        idle = has_written ? 0 : idle + (info.tcpi_unacked ? 1 : 4);
        pause_ms(1);
    }
    if (ends->mode == BLOCKING)
        ioctl(ends->fd, FIONBIO, &wait);
}

static void before_own_timeout(struct ends *ends)
{
    struct timeval own = {0, 30000};
    setsockopt(ends->fd, SOL_SOCKET, SO_SNDTIMEO, &own, sizeof own);
}

/* Full for good: until everything is acknowledged and the window is closed, the kernel may make room again, and that
 * may be sooner or later than the timeout. */
static void before_full_and_own_timeout(struct ends *ends)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    int tries = 0;
    do {
        fill(ends);
        getsockopt(ends->fd, IPPROTO_TCP, TCP_INFO, &info, &length);
    } while ((info.tcpi_unacked || info.tcpi_snd_wnd) && ++tries < 1000);
    fill(ends);
    before_own_timeout(ends);
}

static void close_peer(struct ends *ends)
{
    close(ends->peer);
    ends->peer = -1;
}

static void reset_peer(struct ends *ends)
{
    end_reset(ends->peer);
    ends->peer = -1;
}

static void shut_own(struct ends *ends)
{
    shutdown(ends->fd, SHUT_WR);
}

static void shut_peer_reads(struct ends *ends)
{
    shutdown(ends->peer, SHUT_RD);
}

static void act_close(struct ends *ends, int step)
{
    (void)step;
    if (kind_is_tcp(ends->kind))
        reset_peer(ends);
    else
        close_peer(ends);
}

static void act_shut_own(struct ends *ends, int step)
{
    (void)step;
    shut_own(ends);
}

enum fit { ANYWHERE, CONNECTED_STREAM, TCP_BLOCKING_FEW };
enum where { FINE, AT_NULL, BAD_PAGE, HALF_BAD };
static const struct situation {
    const char *name;
    void (*before)(struct ends *ends);
    void (*act)(struct ends *ends, int step); /* without one the other side takes away what is sent */
    size_t size;
    enum where where;
    enum fit fit;
    bool is_slow;  /* waits for a timeout of the program's own */
    bool is_small; /* a small buffer, to fill it */
} situations[] = {
    {"small", NULL, NULL, 60, FINE, ANYWHERE, false, false},
    {"nothing", NULL, NULL, 0, FINE, ANYWHERE, false, false},
    {"nothing_at_null", NULL, NULL, 0, AT_NULL, ANYWHERE, false, false},
    {"null", NULL, NULL, 60, AT_NULL, ANYWHERE, false, false},
    {"bad_page", NULL, NULL, 60, BAD_PAGE, ANYWHERE, false, false},
    {"half_bad", NULL, NULL, 60, HALF_BAD, ANYWHERE, false, false},
    {"large", NULL, NULL, 20000, FINE, ANYWHERE, false, false},
    {"too_long_for_a_datagram", NULL, NULL, 70000, FINE, ANYWHERE, false, false},
    {"closed", close_peer, NULL, 60, FINE, ANYWHERE, false, false},
    {"closed_large", close_peer, NULL, 20000, FINE, CONNECTED_STREAM, false, false},
    {"reset", reset_peer, NULL, 60, FINE, CONNECTED_STREAM, false, false},
    {"reset_large", reset_peer, NULL, 20000, FINE, CONNECTED_STREAM, false, false},
    {"shut", shut_own, NULL, 60, FINE, ANYWHERE, false, false},
    {"shut_large", shut_own, NULL, 20000, FINE, CONNECTED_STREAM, false, false},
    {"peer_reads_no_more", shut_peer_reads, NULL, 60, FINE, ANYWHERE, false, false},
    {"full", fill, NULL, 60, FINE, ANYWHERE, false, true},
    {"full_then_closed", fill, act_close, 60, FINE, CONNECTED_STREAM, false, true},
    {"full_then_shut", fill, act_shut_own, 60, FINE, CONNECTED_STREAM, false, true},
    {"big", NULL, NULL, BIG_BYTES, FINE, CONNECTED_STREAM, false, false},
    {"big_small_buffer", NULL, NULL, BIG_BYTES, FINE, CONNECTED_STREAM, false, true},
    {"big_then_closed", NULL, act_close, BIG_BYTES, FINE, CONNECTED_STREAM, false, true},
    {"big_then_shut", NULL, act_shut_own, BIG_BYTES, FINE, CONNECTED_STREAM, false, true},
    {"own_timeout_full", before_full_and_own_timeout, NULL, 60, FINE, TCP_BLOCKING_FEW, true, true},
    {"own_timeout_big", before_own_timeout, NULL, BIG_BYTES, FINE, TCP_BLOCKING_FEW, true, true},
};

static char *place(const struct situation *situation)
{
    static char *payload;
    if (!payload) {
        payload = malloc(BIG_BYTES);
        for (size_t i = 0; i < BIG_BYTES; i++)
            payload[i] = (char)(i % 251 == FILLER ? 'f' : i % 251);
    }
    char *page = bad_page();
    memset(page - 35, 'h', 35);
    return situation->where == AT_NULL    ? NULL
           : situation->where == BAD_PAGE ? page
           : situation->where == HALF_BAD ? page - 35
                                          : payload;
}

static void cell(const struct sender *sender, enum kind kind, enum mode mode, const struct flag *flag,
                 const struct situation *situation)
{
    if (!cell_begin("send %s %s %s %s %s", kind_names[kind], mode_names[mode], sender->name, flag->name,
                    situation->name))
        return;
    struct ends ends;
    arrived = (struct arrival){0, 0};
    if (!ends_open(&ends, kind, mode, OUTWARD, situation->is_small)) {
        say(" absent");
        cell_end();
        return;
    }
    if (situation->before)
        situation->before(&ends);
    bool is_big = situation->size > 60 && kind_is_stream(kind);
    struct shipment shipment = {
        ends.fd, place(situation), situation->size, flag->flags, &ends, is_big || situation->is_small};
    helper_begin(&ends, (struct plan){situation->act, situation->act ? 1 : 0,
                                      situation->is_slow ? NULL : drain, !situation->act});
    sender->make(&shipment);
    helper_end();
    drain(&ends);
    if (!situation->is_small)
        say_poll_of(ends.fd);
    bool is_all = situation->size && arrived.size == situation->size;
    if (!shipment.is_class_only || is_all || !arrived.size)
        say(" arrived=%zu/%08x", arrived.size, (unsigned)(arrived.hash >> 16));
    if (kind_is_socket(kind)) {
        CALL("again", send(ends.fd, "x", 1, MSG_DONTWAIT));
        char rest[8];
        CALL("recv", recv(ends.fd, rest, sizeof rest, MSG_DONTWAIT));
    }
    ends_close(&ends);
    cell_end();
}

static bool is_wanted(const struct sender *sender, enum kind kind, enum mode mode, size_t flag,
                      const struct situation *situation)
{
    bool is_main = kind == TCP4;
    if (flag && (!sender->has_flags || (flag >= FEW_FLAGS && !is_main)))
        return false;
    if (mode == BORN_NON_BLOCKING && (flag > 1 || !kind_is_tcp(kind)))
        return false;
    if (situation->fit != ANYWHERE && !(kind_is_stream(kind) && kind_is_socket(kind)))
        return false;
    if (situation->is_small && (flag > 2 || !kind_is_stream(kind) || mode == BORN_NON_BLOCKING))
        return false;
    if (situation->fit == TCP_BLOCKING_FEW && (!is_main || flag || mode != BLOCKING))
        return false;
    if (situation->before && kind >= PLAIN_FILE && situation->before != shut_own)
        return false;
    if (kind == PIPE && (situation->where == HALF_BAD || situation->size > 60000))
        return false; /* the kernel may take the first part or not; it does not all fit */
    return kind < CLOSED || (flag < 2 && !situation->act);
}

void table_send(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int mode = 0; mode < MODES; mode++)
            for (size_t f = 0; f < COUNT_OF(senders); f++)
                for (size_t g = 0; g < COUNT_OF(all_flags); g++)
                    for (size_t s = 0; s < COUNT_OF(situations); s++)
                        if (is_wanted(&senders[f], kind, mode, g, &situations[s]))
                            cell(&senders[f], kind, mode, &all_flags[g], &situations[s]);
}
