#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "drive/connect.h"
#include "drive/fault_transfer.h"
#include "drive/handshake.h"
#include "drive/perform.h"
#include "drive/quick.h"
#include "drive/readable.h"
#include "hooks/guarded.h"
#include "hooks/real.h"

/* As receive.c has it. */
static GUARDED ssize_t send_quickly(struct descriptor *entry, struct transfer *transfer)
{
    ssize_t result = perform(transfer);
    if (result > 0 && (size_t)result == perform_size(transfer)) {
        if (is_of(entry, transfer) && __builtin_expect(handshake_concerns(entry), 0))
            handshake_sent(entry, transfer, (size_t)result, true);
        return result;
    }
    transfer->is_begun = true;
    return transfer_send(entry, transfer, result, 0);
}

static GUARDED ssize_t send_with_care(struct descriptor *entry, struct transfer *transfer, ssize_t result)
{
    if (!is_of(entry, transfer))
        return result == NOT_YET ? perform(transfer) : result;
    if (result == NOT_YET && needs_care(entry, FAULTY))
        return fault_send(entry, transfer);
    if (result == NOT_YET && transfer->size < LARGE_BYTES && quick_begin(entry, transfer->size))
        return send_quickly(entry, transfer);
    return transfer_send(entry, transfer, result, result == NOT_YET ? clock_now_ns() : 0);
}

static GUARDED ssize_t send_kept(const struct kept *kept, int call, ssize_t result, bool is_begun,
                                 uintptr_t caller)
{
    struct transfer transfer = {.call = call,
                                .caller = caller,
                                .fd = kept->fd,
                                .cookie = kept->cookie,
                                .data = kept->data,
                                .size = kept->size,
                                .flags = kept->flags,
                                .is_begun = is_begun};
    return send_with_care(descriptor_of(kept->fd), &transfer, result);
}

static GUARDED ssize_t send_at_length(int fd, const void *data, size_t size, int flags,
                                      struct descriptor *entry, int call)
{
    struct kept kept = {entry->cookie, (void *)data, size, fd, flags};
    return send_kept(&kept, call, NOT_YET, false, CALLER);
}

static GUARDED ssize_t send_carefully(int fd, const void *data, size_t size, int flags,
                                      struct descriptor *entry, int call)
{
    if (size - 1 >= LARGE_BYTES - 1 || !quick_begin(entry, size))
        return send_at_length(fd, data, size, flags, entry, call);
    struct kept kept = {entry->cookie, (void *)data, size, fd, flags};
    ssize_t sent = call == TRANSFER_SEND ? real.send(fd, data, size, flags) : real.write(fd, data, size);
    if (sent != (ssize_t)size)
        return send_kept(&kept, call, sent, true, CALLER);
    handshake_look(entry, data, size);
    return sent;
}

/* Apart, so that the common path need not move its arguments out of the way. */
static GUARDED ssize_t write_carefully(int fd, const void *data, size_t size, struct descriptor *entry)
{
    return send_carefully(fd, data, size, 0, entry, TRANSFER_WRITE);
}

static GUARDED ssize_t guarded_write(int fd, const void *data, size_t size, struct descriptor *entry)
{
    if (!is_plain(entry, SEND_NEEDS_CARE, FAULT_SEND))
        return write_carefully(fd, data, size, entry);
    struct kept kept = {entry->cookie, (void *)data, size, fd, 0};
    KEEP(kept);
    ssize_t sent = NOT_YET;
    if (size < LARGE_BYTES && __builtin_expect((sent = real.write(fd, data, size)) == (ssize_t)kept.size, 1))
        return sent;
    return send_kept(&kept, TRANSFER_WRITE, sent, false, CALLER);
}

EXPORT ssize_t write(int fd, const void *data, size_t size)
{
    struct descriptor *entry = descriptor_of(fd);
    return entry ? guarded_write(fd, data, size, entry) : real.write(fd, data, size);
}

static GUARDED ssize_t guarded_writev(struct descriptor *entry, int fd, const struct iovec *parts, int count)
{
    return send_with_care(entry,
                          &(struct transfer){.caller = CALLER,
                                             .call = TRANSFER_WRITEV,
                                             .fd = fd,
                                             .cookie = entry->cookie,
                                             .data = (void *)parts,
                                             .count = (unsigned)count},
                          NOT_YET);
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count)
{
    struct descriptor *entry = descriptor_of(fd);
    return entry ? guarded_writev(entry, fd, parts, count) : real.writev(fd, parts, count);
}

static GUARDED ssize_t guarded_send(int fd, const void *data, size_t size, int flags,
                                    struct descriptor *entry)
{
    if (!is_plain(entry, SEND_NEEDS_CARE, FAULT_SEND))
        return send_carefully(fd, data, size, flags, entry, TRANSFER_SEND);
    struct kept kept = {entry->cookie, (void *)data, size, fd, flags};
    KEEP(kept);
    ssize_t sent = NOT_YET;
    if (size < LARGE_BYTES &&
        __builtin_expect((sent = real.send(fd, data, size, flags)) == (ssize_t)kept.size, 1))
        return sent;
    return send_kept(&kept, TRANSFER_SEND, sent, false, CALLER);
}

EXPORT ssize_t send(int fd, const void *data, size_t size, int flags)
{
    struct descriptor *entry = descriptor_of(fd);
    return entry ? guarded_send(fd, data, size, flags, entry) : real.send(fd, data, size, flags);
}

/* As guarded_recvfrom. */
static GUARDED ssize_t guarded_sendto(int fd, const void *data, size_t size, int flags,
                                      const struct sockaddr *address, socklen_t length)
{
    struct descriptor *entry = descriptor_of(fd);
    if (!entry)
        return real.sendto(fd, data, size, flags, address, length);
    uint64_t cookie = entry->cookie;
    ssize_t sent = NOT_YET;
    if (is_plain(entry, SEND_NEEDS_CARE, FAULT_SEND) && size < LARGE_BYTES &&
        (sent = real.sendto(fd, data, size, flags, address, length)) == (ssize_t)size)
        return sent;
    return send_with_care(entry,
                          &(struct transfer){.caller = CALLER,
                                             .call = TRANSFER_SENDTO,
                                             .fd = fd,
                                             .cookie = cookie,
                                             .data = (void *)data,
                                             .size = size,
                                             .flags = flags,
                                             .address = (void *)address,
                                             .length = length},
                          sent);
}

/* It makes its connection itself. False: that has failed, or is in progress, and errno says so. */
static RARE bool connect_first(int fd, const struct sockaddr *address, socklen_t length, int *flags,
                               uintptr_t caller)
{
    int result = address ? drive_connect_for_send(fd, address, length, !(*flags & MSG_DONTWAIT), caller)
                         : CONNECT_NOT_MADE;
    if (result == 0)
        *flags &= ~MSG_FASTOPEN;
    return result != -1;
}

static GUARDED ssize_t connecting_sendto(int fd, const void *data, size_t size, int flags,
                                         const struct sockaddr *address, socklen_t length)
{
    if (!connect_first(fd, address, length, &flags, CALLER))
        return -1;
    return guarded_sendto(fd, data, size, flags, address, length);
}

/* The look at the flags is paid for by not looking at the table for a number that was never guarded. */
EXPORT ssize_t sendto(int fd, const void *data, size_t size, int flags, __CONST_SOCKADDR_ARG address,
                      socklen_t length)
{
    if (__builtin_expect(flags & MSG_FASTOPEN, 0))
        return connecting_sendto(fd, data, size, flags, address.__sockaddr__, length);
    if ((unsigned)fd >= __atomic_load_n(&descriptor_guarded_end, __ATOMIC_ACQUIRE))
        return real.sendto(fd, data, size, flags, address.__sockaddr__, length);
    return descriptor_table[(unsigned)fd]
               ? guarded_sendto(fd, data, size, flags, address.__sockaddr__, length)
               : real.sendto(fd, data, size, flags, address.__sockaddr__, length);
}

static GUARDED ssize_t guarded_sendmsg(struct descriptor *entry, int fd, const struct msghdr *message,
                                       int flags)
{
    return send_with_care(entry,
                          &(struct transfer){.caller = CALLER,
                                             .call = TRANSFER_SENDMSG,
                                             .fd = fd,
                                             .cookie = entry->cookie,
                                             .data = (void *)message,
                                             .flags = flags},
                          NOT_YET);
}

/* Whoever has received a socket of ours does not know of its options. Looked at after the call: a message that the
 * kernel has taken can be read. */
static RARE void hand_over_passed(const struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part;
         part = CMSG_NXTHDR((struct msghdr *)message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int passed;
            memcpy(&passed, CMSG_DATA(part) + i * sizeof passed, sizeof passed);
            if (!descriptor_of(passed))
                continue;
            transfer_hand_over(passed);
            transfer_trust(passed);
        }
    }
}

/* Where there may be a socket of ours, to send on or to be passed. */
static GUARDED ssize_t watched_sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct descriptor *entry = descriptor_of(fd);
    if (entry)
        return guarded_sendmsg(entry, fd, message, flags);
    ssize_t sent = real.sendmsg(fd, message, flags);
    if (sent >= 0 && message->msg_controllen)
        hand_over_passed(message);
    return sent;
}

static GUARDED ssize_t connecting_sendmsg(int fd, const struct msghdr *message, int flags)
{
    bool is_good = is_readable(message, sizeof *message);
    if (is_good && !connect_first(fd, message->msg_name, message->msg_namelen, &flags, CALLER))
        return -1;
    return watched_sendmsg(fd, message, flags);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (__builtin_expect(flags & MSG_FASTOPEN, 0))
        return connecting_sendmsg(fd, message, flags);
    return __atomic_load_n(&descriptor_guarded_end, __ATOMIC_RELAXED) ? watched_sendmsg(fd, message, flags)
                                                                      : real.sendmsg(fd, message, flags);
}

static GUARDED int guarded_sendmmsg(struct descriptor *entry, int fd, struct mmsghdr *messages,
                                    unsigned count, int flags)
{
    return (int)send_with_care(entry,
                               &(struct transfer){.caller = CALLER,
                                                  .call = TRANSFER_SENDMMSG,
                                                  .fd = fd,
                                                  .cookie = entry->cookie,
                                                  .data = messages,
                                                  .count = count,
                                                  .flags = flags},
                               NOT_YET);
}

static GUARDED int watched_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    struct descriptor *entry = descriptor_of(fd);
    if (entry)
        return guarded_sendmmsg(entry, fd, messages, count, flags);
    int sent = real.sendmmsg(fd, messages, count, flags);
    for (int i = 0; i < sent; i++)
        if (messages[i].msg_hdr.msg_controllen)
            hand_over_passed(&messages[i].msg_hdr);
    return sent;
}

EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    return __atomic_load_n(&descriptor_guarded_end, __ATOMIC_RELAXED)
               ? watched_sendmmsg(fd, messages, count, flags)
               : real.sendmmsg(fd, messages, count, flags);
}

static GUARDED ssize_t guarded_sendfile(struct descriptor *entry, int to, int from, off64_t *offset,
                                        size_t size)
{
    struct transfer transfer = {.caller = CALLER,
                                .call = TRANSFER_SENDFILE,
                                .fd = to,
                                .cookie = entry->cookie,
                                .other = from,
                                .offset = offset,
                                .size = size};
    return send_with_care(entry, &transfer, NOT_YET);
}

EXPORT ssize_t sendfile(int to, int from, off_t *offset, size_t size)
{
    struct descriptor *entry = descriptor_of(to);
    return entry ? guarded_sendfile(entry, to, from, offset, size) : real.sendfile(to, from, offset, size);
}

EXPORT ssize_t sendfile64(int to, int from, off64_t *offset, size_t size)
{
    struct descriptor *entry = descriptor_of(to);
    return entry ? guarded_sendfile(entry, to, from, offset, size) : real.sendfile64(to, from, offset, size);
}

EXPORT ssize_t splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t size, unsigned flags)
{
    struct transfer transfer = {.caller = CALLER, .size = size, .count = flags};
    struct descriptor *entry = descriptor_of(from);
    if (entry) {
        transfer.call = TRANSFER_SPLICE_IN;
        transfer.fd = from;
        transfer.cookie = entry->cookie;
        transfer.own_offset = from_offset;
        transfer.other = to;
        transfer.offset = to_offset;
        return receive_with_care(entry, &transfer, NOT_YET);
    }
    entry = descriptor_of(to);
    if (!entry)
        return real.splice(from, from_offset, to, to_offset, size, flags);
    transfer.call = TRANSFER_SPLICE_OUT;
    transfer.fd = to;
    transfer.cookie = entry->cookie;
    transfer.own_offset = to_offset;
    transfer.other = from;
    transfer.offset = from_offset;
    return send_with_care(entry, &transfer, NOT_YET);
}
