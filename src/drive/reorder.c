#include "drive/reorder.h"

#include <errno.h>

#include "base/hash.h"
#include "drive/perform.h"
#include "drive/raw.h"
#include "hooks/real.h"

#define SAMPLE_BYTES 256u

static bool overtake(struct flow_overtaken *overtaken, struct descriptor *entry,
                     const struct transfer *transfer, ssize_t *result);
static ssize_t look(int fd, uint64_t *seen);
static void discard(int fd, struct flow_overtaken *overtaken);
static bool set_offset(int fd, int offset);

bool reorder_begin(struct flow *flow, struct descriptor *entry, const struct transfer *transfer,
                   uint32_t depth, ssize_t *result)
{
    struct flow_overtaken *overtaken = &flow->sides[FAULT_RECV].overtaken;
    int before = errno, own = -1;
    socklen_t length = sizeof own;
    uint64_t seen;
    ssize_t first = look(transfer->fd, &seen);
    bool is_own = real.getsockopt(transfer->fd, SOL_SOCKET, SO_PEEK_OFF, &own, &length) == 0 && own >= 0;
    overtaken->depth = (uint8_t)(depth < FAULT_DEPTH_MAX ? depth : FAULT_DEPTH_MAX);
    overtaken->bytes = first > 0 ? (uint64_t)first : 0;
    /* An empty one has no place of its own in the kernel's count. */
    bool has_passed = first > 0 && !is_own && overtake(overtaken, entry, transfer, result);
    if (!has_passed || *result >= 0)
        errno = before;
    return has_passed;
}

ssize_t reorder_go_on(struct flow *flow, struct descriptor *entry, const struct transfer *transfer)
{
    struct flow_overtaken *overtaken = &flow->sides[FAULT_RECV].overtaken;
    int before = errno;
    ssize_t result;
    bool is_looking = transfer->flags & MSG_PEEK;
    if (!is_looking && overtaken->passed < overtaken->depth &&
        overtake(overtaken, entry, transfer, &result)) {
        if (result >= 0)
            errno = before;
        return result;
    }
    result = transfer_receive(entry, transfer, NOT_YET, 0);
    int error = errno;
    if (!is_looking && result >= 0)
        discard(transfer->fd, overtaken);
    if (!is_looking)
        overtaken->passed = 0;
    errno = error;
    return result;
}

/* False: nothing more is there, or the call has no form that looks. */
static bool overtake(struct flow_overtaken *overtaken, struct descriptor *entry,
                     const struct transfer *transfer, ssize_t *result)
{
    struct rest peek;
    if (!perform_peek(transfer, &peek) || !set_offset(transfer->fd, (int)overtaken->bytes))
        return false;
    peek.transfer.flags |= MSG_DONTWAIT;
    uint64_t seen;
    ssize_t size = look(transfer->fd, &seen);
    bool has_passed = size > 0 && set_offset(transfer->fd, (int)overtaken->bytes);
    if (has_passed) {
        *result = perform(&peek.transfer);
        perform_part_done(transfer, &peek);
        has_passed = *result >= 0 || errno != EAGAIN; /* another reader was quicker */
    }
    int error = errno;
    if (has_passed && *result >= 0) {
        overtaken->seen[overtaken->passed++] = seen;
        overtaken->bytes += (uint64_t)size;
        *result = transfer_receive(entry, transfer, *result, 0);
    }
    set_offset(transfer->fd, -1);
    errno = error;
    return has_passed;
}

/* How long the next one is, and what tells it from others. */
static ssize_t look(int fd, uint64_t *seen)
{
    uint8_t sample[SAMPLE_BYTES];
    ssize_t size =
        syscall(SYS_recvfrom, fd, sample, sizeof sample, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT, NULL, NULL);
    if (size >= 0)
        *seen =
            hash_bytes(sample, (size_t)size < sizeof sample ? (size_t)size : sizeof sample, (uint64_t)size);
    return size;
}

/* What has overtaken is next in the queue, and has been received. Another one is left alone: somebody else has received too,
 * and what comes twice does less harm than what is lost. */
static void discard(int fd, struct flow_overtaken *overtaken)
{
    for (unsigned i = 0; i < overtaken->passed; i++) {
        uint64_t seen;
        if (look(fd, &seen) <= 0 || seen != overtaken->seen[i])
            return;
        syscall(SYS_recvfrom, fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
    }
}

static bool set_offset(int fd, int offset)
{
    return real.setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) == 0;
}
