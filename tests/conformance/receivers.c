#include "receivers.h"

#include <time.h>
#include <unistd.h>

/* Fortified programs call these; no header declares them without fortification. */
extern ssize_t __read_chk(int fd, void *data, size_t size, size_t room);
extern ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags);
extern ssize_t __recvfrom_chk(int fd, void *data, size_t size, size_t room, int flags,
                              struct sockaddr *address, socklen_t *length);

static void make_recv(const struct request *r)
{
    CALL("recv", recv(r->fd, r->data, r->size, r->flags));
}

static void make_recv_chk(const struct request *r)
{
    CALL("recv", __recv_chk(r->fd, r->data, r->size, r->size, r->flags));
}

static void make_read(const struct request *r)
{
    CALL("read", read(r->fd, r->data, r->size));
}

static void make_read_chk(const struct request *r)
{
    CALL("read", __read_chk(r->fd, r->data, r->size, r->size));
}

static void make_recvfrom_plain(const struct request *r)
{
    CALL("recvfrom", recvfrom(r->fd, r->data, r->size, r->flags, NULL, NULL));
}

static void with_address(const struct request *r, bool is_checked, socklen_t room)
{
    struct sockaddr_storage from = {.ss_family = 0x7777};
    struct sockaddr *where = (struct sockaddr *)&from;
    socklen_t length = room;
    if (is_checked)
        CALL("recvfrom", __recvfrom_chk(r->fd, r->data, r->size, r->size, r->flags, where, &length));
    else
        CALL("recvfrom", recvfrom(r->fd, r->data, r->size, r->flags, where, &length));
    say_address("from", &from, room, length);
}

static void make_recvfrom(const struct request *r)
{
    with_address(r, false, sizeof(struct sockaddr_storage));
}

static void make_recvfrom_short(const struct request *r)
{
    with_address(r, false, 3);
}

static void make_recvfrom_chk(const struct request *r)
{
    with_address(r, true, sizeof(struct sockaddr_storage));
}

/* Three parts, one of them empty. */
static int split(const struct request *r, struct iovec parts[3])
{
    size_t first = r->size / 3;
    parts[0] = (struct iovec){r->data, first};
    parts[1] = (struct iovec){NULL, 0};
    parts[2] = (struct iovec){r->data ? r->data + first : NULL, r->size - first};
    return 3;
}

static void make_readv(const struct request *r)
{
    struct iovec parts[3];
    int count = split(r, parts);
    CALL("readv", readv(r->fd, parts, count));
}

static void make_recvmsg(const struct request *r)
{
    struct iovec parts[3];
    struct sockaddr_storage from = {.ss_family = 0x7777};
    char control[256] = {0};
    struct msghdr message = {.msg_name = &from,
                             .msg_namelen = sizeof from,
                             .msg_iov = parts,
                             .msg_iovlen = (size_t)split(r, parts),
                             .msg_control = control,
                             .msg_controllen = sizeof control,
                             .msg_flags = 0x5555};
    if (CALL("recvmsg", recvmsg(r->fd, &message, r->flags)) >= 0)
        say_message(&message);
}

static void many(const struct request *r, unsigned count, struct timespec *timeout)
{
    struct iovec parts[2][3];
    struct mmsghdr messages[2] = {0};
    char second[16] = {0};
    struct request other = {.data = second, .size = sizeof second};
    for (unsigned i = 0; i < count; i++) {
        messages[i].msg_hdr.msg_iov = parts[i];
        messages[i].msg_hdr.msg_iovlen = (size_t)split(i ? &other : r, parts[i]);
        messages[i].msg_len = 77;
    }
    CALL("recvmmsg", recvmmsg(r->fd, messages, count, r->flags | (count > 1 ? MSG_WAITFORONE : 0), timeout));
    for (unsigned i = 0; i < count; i++)
        say(" len=%u flags=%x", messages[i].msg_len, (unsigned)messages[i].msg_hdr.msg_flags);
    say_data("second", second, sizeof second);
}

static void make_recvmmsg_one(const struct request *r)
{
    many(r, 1, NULL);
}

static void make_recvmmsg_two(const struct request *r)
{
    many(r, 2, &(struct timespec){20, 0});
}

const struct receiver receivers[] = {
    {"recv", true, make_recv},
    {"read", false, make_read},
    {"readv", false, make_readv},
    {"recvfrom", true, make_recvfrom},
    {"recvfrom_plain", true, make_recvfrom_plain},
    {"recvfrom_short", true, make_recvfrom_short},
    {"recvmsg", true, make_recvmsg},
    {"recvmmsg_one", true, make_recvmmsg_one},
    {"recvmmsg_two", true, make_recvmmsg_two},
    {"read_chk", false, make_read_chk},
    {"recv_chk", true, make_recv_chk},
    {"recvfrom_chk", true, make_recvfrom_chk},
};
const size_t receiver_count = COUNT_OF(receivers);
