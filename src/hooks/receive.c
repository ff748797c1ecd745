#include <errno.h>

#include "base/clock.h"
#include "drive/fault_transfer.h"
#include "drive/perform.h"
#include "drive/quick.h"
#include "hooks/guarded.h"
#include "hooks/real.h"

/* What the short way of an exchange does not settle goes on at length. Apart, so that the long one needs no more stack. */
static GUARDED ssize_t receive_quickly(struct descriptor *entry, const struct transfer *transfer)
{
    ssize_t result = perform(transfer);
    if (result > 0 ? is_of(entry, transfer) && quick_answered(entry) : result < 0 && errno == EAGAIN)
        return result;
    return transfer_receive(entry, transfer, result, 0);
}

GUARDED ssize_t receive_with_care(struct descriptor *entry, const struct transfer *transfer, ssize_t result)
{
    if (!is_of(entry, transfer))
        return result == NOT_YET ? perform(transfer) : result;
    if (result == NOT_YET && needs_care(entry, FAULTY))
        return fault_receive(entry, transfer);
    if (result == NOT_YET && quick_may_receive(entry, transfer->flags))
        return receive_quickly(entry, transfer);
    uint64_t began = result == NOT_YET && transfer->flags & MSG_WAITALL ? clock_now_ns() : 0;
    return transfer_receive(entry, transfer, result, began);
}

static GUARDED ssize_t receive_kept(const struct kept *kept, int call, ssize_t result, uintptr_t caller)
{
    struct transfer transfer = {.call = call,
                                .caller = caller,
                                .fd = kept->fd,
                                .cookie = kept->cookie,
                                .data = kept->data,
                                .size = kept->size,
                                .flags = kept->flags};
    return receive_with_care(descriptor_of(kept->fd), &transfer, result);
}

static GUARDED ssize_t receive_at_length(int fd, void *data, size_t size, int flags, struct descriptor *entry,
                                         int call)
{
    struct kept kept = {entry->cookie, data, size, fd, flags};
    return receive_kept(&kept, call, NOT_YET, CALLER);
}

/* Where the state of the entry is worth a look: mostly because exchanges count, and then it is as short as may be. */
static GUARDED ssize_t receive_carefully(int fd, void *data, size_t size, int flags, struct descriptor *entry,
                                         int call)
{
    if (!quick_may_receive(entry, flags))
        return receive_at_length(fd, data, size, flags, entry, call);
    struct kept kept = {entry->cookie, data, size, fd, flags};
    ssize_t got = call == TRANSFER_RECV ? real.recv(fd, data, size, flags) : real.read(fd, data, size);
    bool is_still = descriptor_of(fd) == entry && entry->cookie == kept.cookie;
    if (got > 0 ? is_still && quick_answered(entry) : got < 0 && errno == EAGAIN)
        return got;
    return receive_kept(&kept, call, got, CALLER);
}

static GUARDED ssize_t guarded_read(int fd, void *data, size_t size, struct descriptor *entry)
{
    if (!is_plain(entry, RECEIVE_NEEDS_CARE, FAULT_RECV))
        return receive_carefully(fd, data, size, 0, entry, TRANSFER_READ);
    struct kept kept = {entry->cookie, data, size, fd, 0};
    KEEP(kept);
    ssize_t got = real.read(fd, data, size);
    if (got > 0)
        return got;
    return receive_kept(&kept, TRANSFER_READ, got, CALLER);
}

EXPORT ssize_t read(int fd, void *data, size_t size)
{
    struct descriptor *entry = descriptor_of(fd);
    return entry ? guarded_read(fd, data, size, entry) : real.read(fd, data, size);
}

EXPORT ssize_t __read_chk(int fd, void *data, size_t size, size_t room)
{
    struct descriptor *entry = descriptor_of(fd);
    /* A size over the room is libc's to report. */
    return entry && size <= room ? guarded_read(fd, data, size, entry)
                                 : real.__read_chk(fd, data, size, room);
}

static GUARDED ssize_t guarded_readv(struct descriptor *entry, int fd, const struct iovec *parts, int count)
{
    uint64_t cookie = entry->cookie;
    ssize_t got = NOT_YET;
    if (is_plain(entry, RECEIVE_NEEDS_CARE, FAULT_RECV) && (got = real.readv(fd, parts, count)) > 0)
        return got;
    return receive_with_care(entry,
                             &(struct transfer){.caller = CALLER,
                                                .call = TRANSFER_READV,
                                                .fd = fd,
                                                .cookie = cookie,
                                                .data = (void *)parts,
                                                .count = (unsigned)count},
                             got);
}

EXPORT ssize_t readv(int fd, const struct iovec *parts, int count)
{
    struct descriptor *entry = descriptor_of(fd);
    return entry ? guarded_readv(entry, fd, parts, count) : real.readv(fd, parts, count);
}

static GUARDED ssize_t guarded_recv(int fd, void *data, size_t size, int flags, struct descriptor *entry)
{
    if (!is_plain(entry, RECEIVE_NEEDS_CARE, FAULT_RECV))
        return receive_carefully(fd, data, size, flags, entry, TRANSFER_RECV);
    struct kept kept = {entry->cookie, data, size, fd, flags};
    ssize_t got = NOT_YET;
    KEEP(kept);
    if (!__builtin_expect(flags & MSG_WAITALL, 0) && (got = real.recv(fd, data, size, flags)) > 0)
        return got;
    return receive_kept(&kept, TRANSFER_RECV, got, CALLER);
}

EXPORT ssize_t recv(int fd, void *data, size_t size, int flags)
{
    struct descriptor *entry = descriptor_of(fd);
    return entry ? guarded_recv(fd, data, size, flags, entry) : real.recv(fd, data, size, flags);
}

EXPORT ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags)
{
    struct descriptor *entry = descriptor_of(fd);
    return entry && size <= room ? guarded_recv(fd, data, size, flags, entry)
                                 : real.__recv_chk(fd, data, size, room, flags);
}

/* Finds the entry by itself: with one more argument it would be called, and not jumped to, and not know its caller. */
static GUARDED ssize_t guarded_recvfrom(int fd, void *data, size_t size, int flags, struct sockaddr *address,
                                        socklen_t *length)
{
    struct descriptor *entry = descriptor_of(fd);
    if (!entry)
        return real.recvfrom(fd, data, size, flags, address, length);
    uint64_t cookie = entry->cookie;
    ssize_t got = NOT_YET;
    if (is_plain(entry, RECEIVE_NEEDS_CARE, FAULT_RECV) && !__builtin_expect(flags & MSG_WAITALL, 0) &&
        (got = real.recvfrom(fd, data, size, flags, address, length)) > 0)
        return got;
    return receive_with_care(entry,
                             &(struct transfer){.caller = CALLER,
                                                .call = TRANSFER_RECVFROM,
                                                .fd = fd,
                                                .cookie = cookie,
                                                .data = data,
                                                .size = size,
                                                .flags = flags,
                                                .address = address,
                                                .address_length = length},
                             got);
}

EXPORT ssize_t recvfrom(int fd, void *data, size_t size, int flags, __SOCKADDR_ARG address, socklen_t *length)
{
    return descriptor_of(fd) ? guarded_recvfrom(fd, data, size, flags, address.__sockaddr__, length)
                             : real.recvfrom(fd, data, size, flags, address.__sockaddr__, length);
}

EXPORT ssize_t __recvfrom_chk(int fd, void *data, size_t size, size_t room, int flags,
                              struct sockaddr *address, socklen_t *length)
{
    return descriptor_of(fd) && size <= room
               ? guarded_recvfrom(fd, data, size, flags, address, length)
               : real.__recvfrom_chk(fd, data, size, room, flags, address, length);
}

static GUARDED ssize_t guarded_recvmsg(struct descriptor *entry, int fd, struct msghdr *message, int flags)
{
    uint64_t cookie = entry->cookie;
    ssize_t got = NOT_YET;
    if (is_plain(entry, RECEIVE_NEEDS_CARE, FAULT_RECV) && !__builtin_expect(flags & MSG_WAITALL, 0) &&
        (got = real.recvmsg(fd, message, flags)) > 0)
        return got;
    return receive_with_care(entry,
                             &(struct transfer){.caller = CALLER,
                                                .call = TRANSFER_RECVMSG,
                                                .fd = fd,
                                                .cookie = cookie,
                                                .data = message,
                                                .flags = flags},
                             got);
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    struct descriptor *entry = descriptor_of(fd);
    return entry ? guarded_recvmsg(entry, fd, message, flags) : real.recvmsg(fd, message, flags);
}

static GUARDED int guarded_recvmmsg(struct descriptor *entry, int fd, struct mmsghdr *messages,
                                    unsigned count, int flags, struct timespec *timeout)
{
    uint64_t cookie = entry->cookie;
    ssize_t got = NOT_YET;
    if (is_plain(entry, RECEIVE_NEEDS_CARE, FAULT_RECV) &&
        (got = real.recvmmsg(fd, messages, count, flags, timeout)) > 0)
        return (int)got;
    return (int)receive_with_care(entry,
                                  &(struct transfer){.caller = CALLER,
                                                     .call = TRANSFER_RECVMMSG,
                                                     .fd = fd,
                                                     .cookie = cookie,
                                                     .data = messages,
                                                     .count = count,
                                                     .flags = flags,
                                                     .timeout = timeout},
                                  got);
}

EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    struct descriptor *entry = descriptor_of(fd);
    return entry ? guarded_recvmmsg(entry, fd, messages, count, flags, timeout)
                 : real.recvmmsg(fd, messages, count, flags, timeout);
}
