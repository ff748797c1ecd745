#include "drive/stand_in.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "drive/connect.h"
#include "drive/meeting.h"
#include "drive/options.h"
#include "drive/perform.h"
#include "drive/raw.h"
#include "drive/readable.h"
#include "hooks/real.h"

#define HIGHEST (1u << 16) /* a number above it would make the kernel's table of them large */

/* What the kernel takes of one call, and how many parts can be looked at together (readable.h). */
#define PARTS_MAX    ((size_t)IOV_MAX)
#define MESSAGES_MAX 1024u
#define BYTES_MAX    ((size_t)INT_MAX & ~(size_t)4095)
#define PARTS_A_PAGE (4096 / sizeof(struct iovec))

static int raise_number(int fd);
static bool say(int end, const struct canned *canned, uint32_t *said);
static void answer(struct degraded *record);
static void hang_up(struct degraded *record, void (*leave)(int end));
static int held_end(const struct degraded *record);
static bool is_end_of(const struct degraded *record, int end);
static bool is_host_back(const struct degraded *record);
static ssize_t swallow(const struct transfer *transfer);
static ssize_t swallow_message(const struct msghdr *message);
static ssize_t swallow_messages(const struct transfer *transfer);
static ssize_t size_of(const struct iovec *parts, size_t count, int too_many);
static bool has_shut(const struct transfer *transfer);

/* It has said all. A fork child may have the socket too, unknowingly: closing alone would not tell the program so. */
static void raw_finish(int end)
{
    syscall(SYS_shutdown, end, SHUT_WR);
    raw_close(end);
}

bool stand_in_connect(int fd, const struct sockaddr *like, const struct rung *rung, struct stand_in *made,
                      enum skipped_reason *why)
{
    int error = errno;
    raw_disconnect(fd);
    int end = meet_on_loopback(fd, like, why);
    uint32_t said = 0;
    bool has_room = end < 0 || rung->awaits_request || say(end, &rung->canned, &said);
    if (end >= 0 && has_room) {
        *made = (struct stand_in){.end = -1};
        if (rung->awaits_request) {
            made->end = raise_number(end);
            made->cookie = option_cookie(made->end);
        } else {
            raw_finish(end); /* what it has said is delivered all the same */
        }
        errno = error;
        return true;
    }
    if (!has_room) {
        *why = SKIPPED_NO_ROOM;
        raw_close(end);
    }
    raw_disconnect(fd);
    errno = error;
    return false;
}

void stand_in_begin(struct degraded *record, const struct stand_in *made, const struct descent *descent)
{
    const struct rung *rung = &descent->kept->ladder.rungs[descent->place.rung];
    const struct policy *policy = &descent->kept->rule.policy;
    record->canned = &rung->canned;
    record->hangs_up = rung->hangs_up || !policy->breaker.is_on;
    record->asked_host = descent->asked;
    record->breaker = &policy->breaker.params;
    record->said = 0;
    record->has_answered = !rung->awaits_request;
    record->end = made->end;
    record->end_cookie = made->cookie;
    record->stands_in = true;
}

struct degraded *stand_in_of(const struct descriptor *entry)
{
    struct degraded *record = degraded_of(entry);
    return record && record->stands_in ? record : NULL;
}

ssize_t stand_in_send(struct degraded *record, const struct transfer *transfer, int error)
{
    if (has_shut(transfer)) {
        errno = error;
        return perform(transfer); /* the kernel says what it says to who sends after that */
    }
    /* The next request on a connection that is kept open: it is not for a stand-in any more once what it stands in for may
     * be asked again. Programs connect anew then, as whenever a connection has gone stale. */
    if (record->said && !record->has_answered && is_host_back(record)) {
        hang_up(record, raw_close);
        raw_disconnect(transfer->fd);
        errno = ECONNRESET;
        return -1;
    }
    ssize_t swallowed = swallow(transfer);
    if (swallowed <= 0)
        return swallowed;
    if (!record->has_answered)
        answer(record);
    errno = error;
    return swallowed;
}

ssize_t stand_in_receive(struct degraded *record, const struct transfer *transfer, int error)
{
    if (record->has_answered && record->said < record->canned->length)
        answer(record); /* there was no room for the rest */
    errno = error;
    ssize_t got = perform(transfer);
    /* Whoever has read of an answer asks anew with what is sent next. */
    if (got > 0 && !(transfer->flags & MSG_PEEK) && held_end(record) >= 0 &&
        record->said == record->canned->length)
        record->has_answered = false;
    return got;
}

void stand_in_shut(const struct descriptor *entry, int how)
{
    struct degraded *record = stand_in_of(entry);
    if (record && how != SHUT_RD)
        hang_up(record, raw_finish);
}

void stand_in_ended(const struct descriptor *entry)
{
    struct degraded *record = stand_in_of(entry);
    if (record)
        hang_up(record, raw_close); /* another process may have the connection still */
}

/* Out of the way: programs expect the numbers that they are given to be low, and hand 0, 1 and 2 on. */
static int raise_number(int fd)
{
    struct rlimit most = {.rlim_cur = 1024};
    getrlimit(RLIMIT_NOFILE, &most);
    rlim_t last = most.rlim_cur < HIGHEST ? most.rlim_cur : HIGHEST;
    int high = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, (int)(last - last / 4));
    if (high < 0)
        return fd;
    raw_close(fd);
    return high;
}

/* False: there was no room for all of it. */
static bool say(int end, const struct canned *canned, uint32_t *said)
{
    int room = (int)canned->length * 2;
    if (*said == 0)
        real.setsockopt(end, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    while (*said < canned->length) {
        long sent = syscall(SYS_sendto, end, canned->bytes + *said, (size_t)(canned->length - *said),
                            MSG_NOSIGNAL | MSG_DONTWAIT, NULL, 0);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        *said += (uint32_t)sent;
    }
    return true;
}

/* The answer to a request, or the rest of it. */
static void answer(struct degraded *record)
{
    int end = held_end(record);
    if (end < 0)
        return;
    if (!record->has_answered)
        record->said = 0;
    record->has_answered = true;
    if (say(end, record->canned, &record->said) && record->hangs_up)
        hang_up(record, raw_finish);
}

void stand_in_let_go(struct degraded *record)
{
    hang_up(record, raw_close);
}

/* Two threads may do so at once, one that has answered and one that closes: the number is of the one that takes it. */
static void hang_up(struct degraded *record, void (*leave)(int end))
{
    int end = __atomic_exchange_n(&record->end, -1, __ATOMIC_ACQ_REL);
    if (is_end_of(record, end))
        leave(end);
}

/* -1: it is closed. */
static int held_end(const struct degraded *record)
{
    int end = __atomic_load_n(&record->end, __ATOMIC_ACQUIRE);
    return is_end_of(record, end) ? end : -1;
}

/* The program may have closed the number, with all that it did not know of. */
static bool is_end_of(const struct degraded *record, int end)
{
    return end >= 0 && option_cookie(end) == record->end_cookie;
}

static bool is_host_back(const struct degraded *record)
{
    uint64_t now = clock_now_ns();
    struct breaker_answer answer = breakers_look(record->asked_host, record->breaker, now);
    return answer.verdict != BREAKER_REJECT || answer.until_ns <= now;
}

static ssize_t swallow(const struct transfer *transfer)
{
    switch (transfer->call) {
    case TRANSFER_SENDMMSG:
        return swallow_messages(transfer);
    case TRANSFER_SENDMSG:
        return swallow_message(transfer->data);
    case TRANSFER_WRITEV:
        return size_of(transfer->data, transfer->count, EINVAL);
    case TRANSFER_SENDFILE:
    case TRANSFER_SPLICE_OUT:
        break;
    default:
        return (ssize_t)transfer->size;
    }
    /* What is at the other end goes where it goes, and offsets move. */
    int nowhere = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0)
        return -1;
    struct transfer away = *transfer;
    away.fd = nowhere;
    ssize_t moved = perform(&away);
    int error = errno;
    raw_close(nowhere);
    errno = error;
    return moved;
}

static ssize_t swallow_message(const struct msghdr *message)
{
    if (is_readable(message, sizeof *message))
        return size_of(message->msg_iov, message->msg_iovlen, EMSGSIZE);
    errno = EFAULT;
    return -1;
}

/* As with the kernel, an error is told of the first message only; later it ends what is sent. */
static ssize_t swallow_messages(const struct transfer *transfer)
{
    struct mmsghdr *messages = transfer->data;
    unsigned count = transfer->count < MESSAGES_MAX ? transfer->count : MESSAGES_MAX, done = 0;
    for (; done < count; done++) {
        ssize_t size = -1;
        unsigned *told = &messages[done].msg_len;
        socklen_t length = sizeof *told;
        if (!is_readable(&messages[done], sizeof *messages))
            errno = EFAULT;
        else
            size = swallow_message(&messages[done].msg_hdr);
        /* Can it be written to? The kernel finds out, with whatever it has to write. */
        if (size < 0 || real.getsockopt(transfer->fd, SOL_SOCKET, SO_TYPE, told, &length) != 0)
            return done ? (ssize_t)done : -1;
        *told = (unsigned)size;
    }
    return (ssize_t)done;
}

/* Of all parts together. -1: the kernel would not take them, and errno says why. */
static ssize_t size_of(const struct iovec *parts, size_t count, int too_many)
{
    size_t size = 0;
    int error = count > PARTS_MAX ? too_many : 0;
    for (size_t i = 0; i < count && !error; i++) {
        size_t left = count - i < PARTS_A_PAGE ? count - i : PARTS_A_PAGE;
        if (i % PARTS_A_PAGE == 0 && !is_readable(&parts[i], left * sizeof *parts))
            error = EFAULT;
        else if (parts[i].iov_len > SSIZE_MAX)
            error = EINVAL;
        else
            size += parts[i].iov_len < BYTES_MAX - size ? parts[i].iov_len : BYTES_MAX - size;
    }
    if (!error)
        return (ssize_t)size;
    errno = error;
    return -1;
}

static bool has_shut(const struct transfer *transfer)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    if (!(descriptor_note(transfer->fd) & SOCKET_SHUT))
        return false;
    return real.getsockopt(transfer->fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
           info.tcpi_state != TCP_ESTABLISHED && info.tcpi_state != TCP_CLOSE_WAIT;
}
