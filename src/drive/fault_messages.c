#include "drive/fault_messages.h"

#include <errno.h>

#include "base/clock.h"
#include "drive/fault_transfer.h"
#include "drive/perform.h"
#include "drive/readable.h"

static uint64_t until_of(const struct transfer *transfer);
static bool is_same(const struct descriptor *entry, const struct transfer *transfer);

ssize_t messages_receive(struct descriptor *entry, const struct transfer *transfer)
{
    struct mmsghdr *messages = transfer->data;
    uint64_t until_ns = until_of(transfer);
    int before = errno;
    unsigned done = 0;
    struct transfer one = *transfer;
    one.call = TRANSFER_RECVMSG;
    one.flags &= ~MSG_WAITFORONE;
    while (done < transfer->count) {
        if (!is_same(entry, transfer) || !is_readable(&messages[done], sizeof *messages))
            return done ? (ssize_t)done : perform(transfer);
        one.data = &messages[done].msg_hdr;
        ssize_t got = fault_receive(entry, &one);
        if (got < 0)
            break;
        messages[done++].msg_len = (unsigned)got;
        if (transfer->flags & MSG_WAITFORONE)
            one.flags |= MSG_DONTWAIT;
        if (clock_now_ns() >= until_ns)
            break;
    }
    if (!done)
        return transfer->count ? -1 : perform(transfer);
    /* An error behind messages is the next call's, as it would be the kernel's. */
    if (done < transfer->count && errno && errno != EAGAIN && errno != EINTR && errno != before) {
        entry->due_recv_error = (int16_t)errno;
        atomic_fetch_or_explicit(&entry->state, RECV_ERROR_DUE, memory_order_acq_rel);
    }
    errno = before;
    return (ssize_t)done;
}

ssize_t messages_send(struct descriptor *entry, const struct transfer *transfer)
{
    struct mmsghdr *messages = transfer->data;
    int before = errno;
    unsigned done = 0;
    struct transfer one = *transfer;
    one.call = TRANSFER_SENDMSG;
    for (; done < transfer->count; done++) {
        if (!is_same(entry, transfer) || !is_readable(&messages[done], sizeof *messages))
            return done ? (ssize_t)done : perform(transfer);
        one.data = &messages[done].msg_hdr;
        ssize_t sent = fault_send(entry, &one);
        if (sent < 0)
            break;
        messages[done].msg_len = (unsigned)sent;
    }
    if (!done)
        return transfer->count ? -1 : perform(transfer);
    errno = before;
    return (ssize_t)done;
}

/* When no further message is waited for. */
static uint64_t until_of(const struct transfer *transfer)
{
    const struct timespec *timeout = transfer->timeout;
    if (!timeout || !is_readable(timeout, sizeof *timeout))
        return UINT64_MAX;
    return clock_now_ns() + (uint64_t)timeout->tv_sec * 1000000000 + (uint64_t)timeout->tv_nsec;
}

/* Another thread may have closed it between two messages. */
static bool is_same(const struct descriptor *entry, const struct transfer *transfer)
{
    const struct descriptor *now = descriptor_of(transfer->fd);
    return now && now == entry && now->cookie == transfer->cookie;
}
