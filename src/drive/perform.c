#include "drive/perform.h"

#include <fcntl.h>

#include "drive/readable.h"
#include "hooks/real.h"

#define PAGE_BYTES 4096u

static bool skip(const struct transfer *transfer, size_t done, struct rest *rest);

ssize_t perform(const struct transfer *transfer)
{
    int fd = transfer->fd, flags = transfer->flags;
    void *data = transfer->data;
    size_t size = transfer->size;
    switch (transfer->call) {
    case TRANSFER_READ:
        return real.read(fd, data, size);
    case TRANSFER_READV:
        return real.readv(fd, data, (int)transfer->count);
    case TRANSFER_RECV:
        return real.recv(fd, data, size, flags);
    case TRANSFER_RECVFROM:
        return real.recvfrom(fd, data, size, flags, transfer->address, transfer->address_length);
    case TRANSFER_RECVMSG:
        return real.recvmsg(fd, data, flags);
    case TRANSFER_RECVMMSG:
        return real.recvmmsg(fd, data, transfer->count, flags, transfer->timeout);
    case TRANSFER_WRITE:
        return real.write(fd, data, size);
    case TRANSFER_WRITEV:
        return real.writev(fd, data, (int)transfer->count);
    case TRANSFER_SEND:
        return real.send(fd, data, size, flags);
    case TRANSFER_SENDTO:
        return real.sendto(fd, data, size, flags, transfer->address, transfer->length);
    case TRANSFER_SENDMSG:
        return real.sendmsg(fd, data, flags);
    case TRANSFER_SENDMMSG:
        return real.sendmmsg(fd, data, transfer->count, flags);
    case TRANSFER_SENDFILE:
        return real.sendfile64(fd, transfer->other, transfer->offset, size);
    case TRANSFER_SPLICE_IN:
        return real.splice(fd, transfer->own_offset, transfer->other, transfer->offset, size,
                           transfer->count);
    case TRANSFER_SPLICE_OUT:
        return real.splice(transfer->other, transfer->offset, fd, transfer->own_offset, size,
                           transfer->count);
    }
    return -1;
}

bool perform_is_dontwait(const struct transfer *transfer)
{
    bool is_splice = transfer->call == TRANSFER_SPLICE_IN || transfer->call == TRANSFER_SPLICE_OUT;
    return is_splice ? transfer->count & SPLICE_F_NONBLOCK : transfer->flags & MSG_DONTWAIT;
}

bool perform_may_wait(const struct transfer *transfer)
{
    /* SPLICE_F_NONBLOCK is about the pipe at the other end: with it, and a full pipe, we would go round and round. */
    return transfer->call == TRANSFER_SENDFILE || transfer->call == TRANSFER_SPLICE_IN ||
           transfer->call == TRANSFER_SPLICE_OUT;
}

bool perform_rest(const struct transfer *transfer, size_t done, struct rest *rest)
{
    struct transfer *again = &rest->transfer;
    *again = *transfer;
    again->flags |= MSG_DONTWAIT;
    switch (transfer->call) {
    case TRANSFER_READ:
        again->call = TRANSFER_RECV;
        break;
    case TRANSFER_WRITE:
        again->call = TRANSFER_SEND;
        break;
    case TRANSFER_READV:
    case TRANSFER_WRITEV:
        again->call = transfer->call == TRANSFER_READV ? TRANSFER_RECVMSG : TRANSFER_SENDMSG;
        rest->message = (struct msghdr){.msg_iov = transfer->data, .msg_iovlen = transfer->count};
        again->data = &rest->message;
        break;
    case TRANSFER_SENDFILE: /* the kernel has moved the offset on */
        again->size -= done;
        return true;
    case TRANSFER_SPLICE_IN:
    case TRANSFER_SPLICE_OUT:
        return done == 0;
    default:
        break;
    }
    return done == 0 || skip(transfer, done, rest);
}

size_t perform_size(const struct transfer *transfer)
{
    const struct iovec *parts = transfer->data;
    size_t count = transfer->count, size = 0;
    switch (transfer->call) {
    case TRANSFER_RECVMMSG:
    case TRANSFER_SENDMMSG:
    case TRANSFER_SPLICE_IN: /* as much as there is, by its nature */
    case TRANSFER_SPLICE_OUT:
        return 0;
    case TRANSFER_RECVMSG:
    case TRANSFER_SENDMSG:
        parts = ((const struct msghdr *)transfer->data)->msg_iov;
        count = ((const struct msghdr *)transfer->data)->msg_iovlen;
        break;
    case TRANSFER_READV:
    case TRANSFER_WRITEV:
        break;
    default:
        return transfer->size;
    }
    for (size_t i = 0; i < count; i++)
        size += parts[i].iov_len;
    return size;
}

bool perform_part(const struct transfer *transfer, size_t done, size_t most, struct rest *rest)
{
    struct transfer *part = &rest->transfer;
    const struct iovec *from = transfer->data;
    size_t count = transfer->count;
    *part = *transfer;
    switch (transfer->call) {
    case TRANSFER_RECVMMSG:
    case TRANSFER_SENDMMSG:
        return false;
    case TRANSFER_SENDFILE: /* the kernel has moved the offset on */
    case TRANSFER_SPLICE_IN:
    case TRANSFER_SPLICE_OUT:
        part->size -= done;
        part->size = part->size < most ? part->size : most;
        return true;
    case TRANSFER_RECVMSG:
    case TRANSFER_SENDMSG:
        if (!is_readable(transfer->data, sizeof rest->message))
            return false;
        rest->message = *(const struct msghdr *)transfer->data;
        if (done) { /* what goes beside the data went with the first part */
            rest->message.msg_control = NULL;
            rest->message.msg_controllen = 0;
        }
        from = rest->message.msg_iov;
        count = rest->message.msg_iovlen;
        break;
    case TRANSFER_READV:
    case TRANSFER_WRITEV:
        break;
    default:
        part->data = (char *)transfer->data + done;
        part->size = transfer->size - done < most ? transfer->size - done : most;
        return true;
    }
    if (count * sizeof *from > PAGE_BYTES || (count && !is_readable(from, count * sizeof *from)))
        return false;
    size_t parts = 0;
    for (; count && most && parts < PERFORM_PARTS; count--, from++) {
        size_t skipped = done < from->iov_len ? done : from->iov_len, size = from->iov_len - skipped;
        done -= skipped;
        if (!size)
            continue;
        size = size < most ? size : most;
        most -= size;
        rest->parts[parts++] = (struct iovec){(char *)from->iov_base + skipped, size};
    }
    rest->message.msg_iov = rest->parts;
    rest->message.msg_iovlen = parts;
    bool is_message = transfer->call == TRANSFER_RECVMSG || transfer->call == TRANSFER_SENDMSG;
    part->data = is_message ? (void *)&rest->message : rest->parts;
    part->count = (unsigned)parts;
    return true;
}

bool perform_peek(const struct transfer *transfer, struct rest *rest)
{
    struct transfer *peek = &rest->transfer;
    *peek = *transfer;
    peek->flags |= MSG_PEEK;
    switch (transfer->call) {
    case TRANSFER_READ:
        peek->call = TRANSFER_RECV;
        return true;
    case TRANSFER_RECV:
    case TRANSFER_RECVFROM:
        return true;
    case TRANSFER_READV:
        rest->message = (struct msghdr){.msg_iov = transfer->data, .msg_iovlen = transfer->count};
        break;
    case TRANSFER_RECVMSG:
        if (!is_readable(transfer->data, sizeof rest->message))
            return false;
        rest->message = *(const struct msghdr *)transfer->data;
        break;
    default:
        return false;
    }
    peek->call = TRANSFER_RECVMSG;
    peek->data = &rest->message;
    return true;
}

void perform_part_done(const struct transfer *transfer, const struct rest *rest)
{
    if (transfer->call != TRANSFER_RECVMSG || rest->transfer.call != TRANSFER_RECVMSG)
        return;
    struct msghdr *whole = transfer->data;
    whole->msg_namelen = rest->message.msg_namelen;
    whole->msg_controllen = rest->message.msg_controllen;
    whole->msg_flags = rest->message.msg_flags;
}

/* Leaves out the first `done` bytes. */
static bool skip(const struct transfer *transfer, size_t done, struct rest *rest)
{
    if (transfer->call == TRANSFER_RECVMMSG || transfer->call == TRANSFER_SENDMMSG)
        return false;
    if (rest->transfer.call != TRANSFER_RECVMSG && rest->transfer.call != TRANSFER_SENDMSG) {
        rest->transfer.data = (char *)transfer->data + done;
        rest->transfer.size = transfer->size - done;
        return true;
    }
    /* What goes beside the data (descriptors, addresses) went with the first part. */
    const struct msghdr *whole = rest->transfer.data;
    const struct iovec *from = whole->msg_iov;
    size_t count = whole->msg_iovlen;
    while (count && done >= from->iov_len) {
        done -= from++->iov_len;
        count--;
    }
    if (count == 0)
        return false;
    if (count > PERFORM_PARTS) /* the others' turn comes when these are done */
        count = PERFORM_PARTS;
    for (size_t i = 0; i < count; i++)
        rest->parts[i] = from[i];
    rest->parts[0].iov_base = (char *)rest->parts[0].iov_base + done;
    rest->parts[0].iov_len -= done;
    rest->message = (struct msghdr){.msg_iov = rest->parts, .msg_iovlen = count};
    rest->transfer.data = &rest->message;
    return true;
}
