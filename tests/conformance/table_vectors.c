/* Vectors, messages and pointers that are wrong, or at the edge. */
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "conform.h"

static char data[64];
static struct iovec many[IOV_MAX + 1];

struct vector {
    const struct iovec *parts;
    long count;
};
enum shape {
    USUAL,
    NONE,
    NULL_AND_NONE,
    NULL_BUT_ONE,
    LESS_THAN_NONE,
    MOST,
    ONE_TOO_MANY,
    AT_BAD_PAGE,
    HALF_ON_BAD_PAGE,
    ENDLESS,
    NEGATIVE,
    SECOND_IS_BAD,
    NULL_BASE,
    SHAPES
};
static const char *const shape_names[SHAPES] = {
    "usual",           "none",        "null_and_none", "null_but_one", "less_than_none", "iov_max",
    "iov_max_and_one", "at_bad_page", "half_on",       "endless",      "negative",       "second_is_bad",
    "null_base"};

static struct vector vector_of(enum shape shape)
{
    struct iovec *parts = many;
    many[0] = (struct iovec){data, 20};
    many[1] = (struct iovec){data, 0};
    switch (shape) {
    case NONE:
        return (struct vector){many, 0};
    case NULL_AND_NONE:
        return (struct vector){NULL, 0};
    case NULL_BUT_ONE:
        return (struct vector){NULL, 1};
    case LESS_THAN_NONE:
        return (struct vector){many, -1};
    case MOST:
    case ONE_TOO_MANY:
        for (int i = 0; i <= IOV_MAX; i++)
            many[i] = (struct iovec){data + i % 64, i % 50 == 0};
        return (struct vector){many, shape == MOST ? IOV_MAX : IOV_MAX + 1};
    case AT_BAD_PAGE:
        return (struct vector){bad_page(), 1};
    case HALF_ON_BAD_PAGE:
        parts = (struct iovec *)bad_page() - 1;
        *parts = (struct iovec){data, 20};
        return (struct vector){parts, 2};
    case ENDLESS:
        many[1].iov_len = SSIZE_MAX;
        return (struct vector){many, 2};
    case NEGATIVE:
        many[0].iov_len = (size_t)-1;
        return (struct vector){many, 1};
    case SECOND_IS_BAD:
        many[1] = (struct iovec){bad_page(), 20};
        return (struct vector){many, 2};
    case NULL_BASE:
        many[0].iov_base = NULL;
        return (struct vector){many, 1};
    default:
        return (struct vector){many, 1};
    }
}

static struct msghdr message_of(struct vector v)
{
    return (struct msghdr){.msg_iov = (struct iovec *)v.parts, .msg_iovlen = (size_t)v.count};
}

static void make_readv(int fd, struct vector v)
{
    CALL("readv", readv(fd, v.parts, (int)v.count));
}

static void make_writev(int fd, struct vector v)
{
    CALL("writev", writev(fd, v.parts, (int)v.count));
}

static void make_recvmsg(int fd, struct vector v)
{
    struct msghdr message = message_of(v);
    CALL("recvmsg", recvmsg(fd, &message, 0));
    say(" flags=%x", (unsigned)message.msg_flags);
}

static void make_recvmsg_waitall(int fd, struct vector v)
{
    struct msghdr message = message_of(v);
    CALL("recvmsg", recvmsg(fd, &message, MSG_WAITALL));
}

static void make_sendmsg(int fd, struct vector v)
{
    struct msghdr message = message_of(v);
    CALL("sendmsg", sendmsg(fd, &message, MSG_NOSIGNAL));
}

static void make_recvmmsg(int fd, struct vector v)
{
    struct mmsghdr messages[2] = {{message_of(v), 77}, {message_of(v), 77}};
    CALL("recvmmsg", recvmmsg(fd, messages, 2, MSG_WAITFORONE, NULL));
    say(" len=%u,%u", messages[0].msg_len, messages[1].msg_len);
}

static void make_sendmmsg(int fd, struct vector v)
{
    struct mmsghdr messages[2] = {{message_of(v), 77}, {message_of(v), 77}};
    CALL("sendmmsg", sendmmsg(fd, messages, 2, MSG_NOSIGNAL));
    say(" len=%u,%u", messages[0].msg_len, messages[1].msg_len);
}

/* These take the message itself, or an address, from a bad place; the vector does not matter. */
static void make_bad_messages(int fd, struct vector v)
{
    (void)v;
    CALL("recvmsg_null", recvmsg(fd, NULL, 0));
    CALL("recvmsg_page", recvmsg(fd, bad_page(), 0));
    CALL("recvmsg_waitall", recvmsg(fd, NULL, MSG_WAITALL));
    CALL("recvmsg_dontwait", recvmsg(fd, NULL, MSG_DONTWAIT));
    CALL("sendmsg_null", sendmsg(fd, NULL, MSG_NOSIGNAL));
    CALL("sendmsg_page", sendmsg(fd, bad_page(), MSG_NOSIGNAL));
    CALL("sendmmsg_null", sendmmsg(fd, NULL, 1, MSG_NOSIGNAL));
    CALL("sendmmsg_none", sendmmsg(fd, NULL, 0, MSG_NOSIGNAL));
    CALL("sendmmsg_page", sendmmsg(fd, bad_page(), 1, MSG_NOSIGNAL));
    CALL("recvmmsg_null", recvmmsg(fd, NULL, 1, MSG_DONTWAIT, NULL));
    CALL("recvmmsg_none", recvmmsg(fd, NULL, 0, MSG_DONTWAIT, NULL));
    CALL("recvmmsg_page", recvmmsg(fd, bad_page(), 1, MSG_DONTWAIT, NULL));
    CALL("recvmmsg_time", recvmmsg(fd, NULL, 1, 0, bad_page()));
}

static void make_bad_addresses(int fd, struct vector v)
{
    (void)v;
    socklen_t huge = (socklen_t)-1, room = 16;
    struct sockaddr_storage storage = {0};
    struct sockaddr *from = (struct sockaddr *)&storage;
    CALL("bad_address", recvfrom(fd, data, 1, MSG_PEEK, bad_page(), &room));
    CALL("bad_length", recvfrom(fd, data, 1, MSG_PEEK, from, bad_page()));
    CALL("no_length", recvfrom(fd, data, 1, MSG_PEEK, from, NULL));
    CALL("negative_length", recvfrom(fd, data, 1, MSG_PEEK, from, &huge));
    CALL("only_length", recvfrom(fd, data, 1, MSG_PEEK, NULL, &room));
    CALL("bad_sendto", sendto(fd, data, 1, MSG_NOSIGNAL, bad_page(), 16));
    CALL("negative_sendto", sendto(fd, data, 1, MSG_NOSIGNAL, from, (socklen_t)-1));
    CALL("huge_recv", recv(fd, data, SIZE_MAX, MSG_PEEK | MSG_DONTWAIT));
    CALL("huge_send", send(fd, bad_page(), SIZE_MAX, MSG_NOSIGNAL));
}

static const struct {
    const char *name;
    bool has_vector;
    void (*make)(int fd, struct vector v);
} functions[] = {
    {"readv", true, make_readv},
    {"writev", true, make_writev},
    {"recvmsg", true, make_recvmsg},
    {"recvmsg_waitall", true, make_recvmsg_waitall},
    {"sendmsg", true, make_sendmsg},
    {"recvmmsg", true, make_recvmmsg},
    {"sendmmsg", true, make_sendmmsg},
    {"bad_messages", false, make_bad_messages},
    {"bad_addresses", false, make_bad_addresses},
};

static void end_of_stream(struct ends *ends)
{
    if (kind_is_stream(ends->kind))
        shutdown(ends->peer, SHUT_WR);
    else
        feed(ends, 7, 9);
}

static void cell(enum kind kind, enum mode mode, size_t function, enum shape shape)
{
    if (!cell_begin("vector %s %s %s %s", kind_names[kind], mode_names[mode], functions[function].name,
                    functions[function].has_vector ? shape_names[shape] : "-"))
        return;
    struct ends ends;
    memset(data, 'd', sizeof data);
    if (ends_open(&ends, kind, mode, INWARD, false)) {
        feed(&ends, 50, 3);
        if (!kind_is_stream(kind))
            feed(&ends, 30, 4);
        helper_begin(&ends, (struct plan){NULL, 0, end_of_stream, false});
        functions[function].make(ends.fd, vector_of(shape));
        helper_end();
        say_data("data", data, sizeof data);
        say_poll_of(ends.fd);
        if (ends.peer >= 0 && kind_is_socket(kind)) {
            char sent[256];
            CALL("arrived", recv(ends.peer, sent, sizeof sent, MSG_DONTWAIT));
        }
        ends_close(&ends);
    }
    cell_end();
}

void table_vectors(void)
{
    static const enum kind kinds[] = {TCP4, UDP4, UNIX_STREAM, UNIX_DGRAM, PIPE, CLOSED};
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (int mode = 0; mode < BORN_NON_BLOCKING; mode++)
            for (size_t f = 0; f < COUNT_OF(functions); f++)
                for (int shape = 0; shape < SHAPES; shape++)
                    if ((functions[f].has_vector || shape == 0) && (kinds[k] != PIPE || f < 2))
                        cell(kinds[k], mode, f, shape);
}
