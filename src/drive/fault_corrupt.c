#include "drive/fault_corrupt.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "drive/readable.h"

#define PAGE_BYTES 4096u
#define PARTS_MAX  (PAGE_BYTES / sizeof(struct iovec))

static bool gather(const struct iovec *parts, size_t count, uint8_t *to, size_t *size);
static bool read_file(const struct transfer *transfer, uint8_t *to, size_t *size);

void fault_corrupt_received(struct faulted *faulted, const struct transfer *transfer, size_t bytes)
{
    struct iovec single = {transfer->data, transfer->size};
    const struct msghdr *message = transfer->data;
    if (transfer->flags & MSG_TRUNC && !faulted->flow->is_message)
        return; /* a stream's bytes are thrown away then, and nobody need have room for them */
    switch (transfer->call) {
    case TRANSFER_READ:
    case TRANSFER_RECV:
    case TRANSFER_RECVFROM:
        faults_corrupt(faulted, &single, 1, bytes);
        break;
    case TRANSFER_READV:
        faults_corrupt(faulted, transfer->data, transfer->count, bytes);
        break;
    case TRANSFER_RECVMSG:
        faults_corrupt(faulted, message->msg_iov, message->msg_iovlen, bytes);
        break;
    default: /* what goes into a pipe is not seen */
        break;
    }
}

bool fault_corrupt_copy(struct faulted *faulted, const struct transfer *transfer, struct corrupted *copy)
{
    uint8_t *bytes = flow_copy(faulted->flow);
    const struct msghdr *message = transfer->data;
    struct iovec single = {transfer->data, transfer->size};
    bool is_had = false;
    size_t size = 0;
    if (!bytes ||
        transfer->flags & MSG_ZEROCOPY) /* the kernel would read the copy when it is another one's */
        return false;
    copy->transfer = *transfer;
    copy->original = transfer;
    switch (transfer->call) {
    case TRANSFER_WRITE:
    case TRANSFER_SEND:
    case TRANSFER_SENDTO:
        is_had = gather(&single, 1, bytes, &size);
        break;
    case TRANSFER_WRITEV:
        copy->transfer.call = TRANSFER_WRITE;
        is_had = transfer->count <= PARTS_MAX && gather(transfer->data, transfer->count, bytes, &size);
        break;
    case TRANSFER_SENDMSG:
        if (!is_readable(message, sizeof *message) || message->msg_iovlen > PARTS_MAX ||
            !gather(message->msg_iov, message->msg_iovlen, bytes, &size))
            return false;
        copy->message = *message;
        copy->part = (struct iovec){bytes, size};
        copy->message.msg_iov = &copy->part;
        copy->message.msg_iovlen = 1;
        copy->transfer.data = &copy->message;
        faults_corrupt(faulted, &copy->part, 1, size);
        return size;
    case TRANSFER_SENDFILE:
        copy->transfer.call = TRANSFER_SEND;
        is_had = read_file(transfer, bytes, &size);
        break;
    default: /* what comes out of a pipe can be had once only */
        break;
    }
    if (!is_had || !size)
        return false;
    copy->transfer.data = bytes;
    copy->transfer.size = size;
    faults_corrupt(faulted, &(struct iovec){bytes, size}, 1, size);
    return true;
}

void fault_corrupt_sent(const struct corrupted *copy, size_t bytes)
{
    const struct transfer *transfer = copy->original;
    int error = errno;
    if (transfer->call == TRANSFER_SENDFILE && transfer->offset)
        *transfer->offset += (off64_t)bytes;
    else if (transfer->call == TRANSFER_SENDFILE)
        lseek64(transfer->other, (off64_t)bytes, SEEK_CUR);
    errno = error;
}

/* False: it is too much, or cannot be read: that is the kernel's to say. */
static bool gather(const struct iovec *parts, size_t count, uint8_t *to, size_t *size)
{
    if (count && !is_readable(parts, count * sizeof *parts))
        return false;
    for (; count; count--, parts++) {
        const uint8_t *from = parts->iov_base;
        for (size_t left = parts->iov_len; left;) {
            size_t step = left < PAGE_BYTES ? left : PAGE_BYTES;
            if (step > FLOW_COPY_BYTES - *size || !is_readable(from, step))
                return false;
            memcpy(to + *size, from, step);
            *size += step;
            from += step;
            left -= step;
        }
    }
    return true;
}

static bool read_file(const struct transfer *transfer, uint8_t *to, size_t *size)
{
    int error = errno;
    bool has_own = transfer->offset;
    if (has_own && !is_readable(transfer->offset, sizeof *transfer->offset))
        return false;
    off64_t at = has_own ? *transfer->offset : lseek64(transfer->other, 0, SEEK_CUR);
    size_t most = transfer->size < FLOW_COPY_BYTES ? transfer->size : FLOW_COPY_BYTES;
    ssize_t got = at < 0 ? -1 : pread64(transfer->other, to, most, at);
    errno = error;
    *size = got > 0 ? (size_t)got : 0;
    return got > 0;
}
