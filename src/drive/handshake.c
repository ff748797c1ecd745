#include "drive/handshake.h"

#include <string.h>

#define LARGEST_IN_PARTS 256u

static struct iovec first_of(const struct transfer *transfer);
static bool is_over_in_parts(const struct iovec *parts, size_t count, size_t sent);

/* The kernel has just read what is looked at. */
bool handshake_is_over(const struct transfer *transfer, size_t sent)
{
    const struct msghdr *message = transfer->data;
    struct iovec whole = {transfer->data, transfer->size};
    switch (transfer->call) {
    case TRANSFER_WRITE:
    case TRANSFER_SEND:
    case TRANSFER_SENDTO:
        return is_over_in_parts(&whole, 1, sent);
    case TRANSFER_WRITEV:
        return is_over_in_parts(transfer->data, transfer->count, sent);
    case TRANSFER_SENDMSG:
        return is_over_in_parts(message->msg_iov, message->msg_iovlen, sent);
    default:
        return false;
    }
}

void handshake_sent(struct descriptor *entry, const struct transfer *transfer, size_t sent, bool is_begun)
{
    struct pending *pending = pending_of(entry);
    if (!pending || sent == 0)
        return;
    uint32_t before = is_begun ? 0 : atomic_load_explicit(&pending->asked_bytes, memory_order_relaxed);
    uint32_t bytes = sent < UINT32_MAX ? (uint32_t)sent : UINT32_MAX;
    atomic_store_explicit(&pending->asked_bytes, bytes > before ? bytes : before, memory_order_relaxed);
    struct iovec first = first_of(transfer);
    if (first.iov_len)
        handshake_look(entry, first.iov_base, first.iov_len < sent ? first.iov_len : sent);
}

void handshake_offered(struct descriptor *entry, const void *data, size_t size)
{
    struct pending *pending = tls_hello_offers_http2(data, size) ? pending_of(entry) : NULL;
    if (pending)
        atomic_store_explicit(&pending->may_be_http2, 1, memory_order_relaxed);
}

/* The first piece; none where it is not in memory. */
static struct iovec first_of(const struct transfer *transfer)
{
    const struct msghdr *message = transfer->data;
    switch (transfer->call) {
    case TRANSFER_WRITE:
    case TRANSFER_SEND:
    case TRANSFER_SENDTO:
        return (struct iovec){transfer->data, transfer->size};
    case TRANSFER_WRITEV:
        return transfer->count ? *(const struct iovec *)transfer->data : (struct iovec){NULL, 0};
    case TRANSFER_SENDMSG:
        return message->msg_iovlen ? *message->msg_iov : (struct iovec){NULL, 0};
    default:
        return (struct iovec){NULL, 0};
    }
}

static bool is_over_in_parts(const struct iovec *parts, size_t count, size_t sent)
{
    uint8_t whole[LARGEST_IN_PARTS];
    size_t size = 0;
    if (!count || !parts->iov_len || *(const uint8_t *)parts->iov_base != TLS_FLIGHT_BEGINS)
        return false;
    if (parts->iov_len >= sent)
        return tls_flight_is_last(parts->iov_base, sent);
    if (sent > sizeof whole)
        return false;
    for (size_t i = 0; i < count && size < sent; i++) {
        size_t here = parts[i].iov_len < sent - size ? parts[i].iov_len : sent - size;
        memcpy(whole + size, parts[i].iov_base, here);
        size += here;
    }
    return tls_flight_is_last(whole, size);
}
