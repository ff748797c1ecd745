#include "drive/handshake.h"

#include <string.h>

#define LARGEST_IN_PARTS 256u

/* What one call has sent, in memory. */
struct pieces {
    struct iovec whole; /* where it is one */
    const struct iovec *first;
    size_t count;
};

static void look_at(const struct transfer *transfer, struct pieces *pieces);

/* The kernel has just read what is looked at. */
bool handshake_is_over(const struct transfer *transfer, size_t sent)
{
    struct pieces pieces;
    uint8_t joined[LARGEST_IN_PARTS];
    size_t size = 0;
    look_at(transfer, &pieces);
    const struct iovec *first = pieces.first;
    if (!pieces.count || !first->iov_len || *(const uint8_t *)first->iov_base != TLS_FLIGHT_BEGINS)
        return false;
    if (first->iov_len >= sent)
        return tls_flight_is_last(first->iov_base, sent);
    if (sent > sizeof joined)
        return false;
    for (size_t i = 0; i < pieces.count && size < sent; i++) {
        size_t here = first[i].iov_len < sent - size ? first[i].iov_len : sent - size;
        memcpy(joined + size, first[i].iov_base, here);
        size += here;
    }
    return tls_flight_is_last(joined, size);
}

void handshake_sent(struct descriptor *entry, const struct transfer *transfer, size_t sent, bool is_begun)
{
    struct pending *pending = pending_of(entry);
    struct pieces pieces;
    if (!pending)
        return;
    uint32_t before = is_begun ? 0 : atomic_load_explicit(&pending->asked_bytes, memory_order_relaxed);
    uint32_t bytes = sent < UINT32_MAX ? (uint32_t)sent : UINT32_MAX;
    atomic_store_explicit(&pending->asked_bytes, bytes > before ? bytes : before, memory_order_relaxed);
    look_at(transfer, &pieces);
    if (pieces.count && pieces.first->iov_len)
        handshake_look(entry, pieces.first->iov_base,
                       pieces.first->iov_len < sent ? pieces.first->iov_len : sent);
}

void handshake_offered(struct descriptor *entry, const void *data, size_t size)
{
    struct pending *pending = tls_hello_offers_http2(data, size) ? pending_of(entry) : NULL;
    if (pending)
        atomic_store_explicit(&pending->may_be_http2, 1, memory_order_relaxed);
}

/* None where it came from elsewhere. */
static void look_at(const struct transfer *transfer, struct pieces *pieces)
{
    const struct msghdr *message = transfer->data;
    pieces->whole = (struct iovec){transfer->data, transfer->size};
    pieces->first = &pieces->whole;
    pieces->count = 0;
    switch (transfer->call) {
    case TRANSFER_WRITE:
    case TRANSFER_SEND:
    case TRANSFER_SENDTO:
        pieces->count = 1;
        break;
    case TRANSFER_WRITEV:
        pieces->first = transfer->data;
        pieces->count = transfer->count;
        break;
    case TRANSFER_SENDMSG:
        pieces->first = message->msg_iov;
        pieces->count = message->msg_iovlen;
        break;
    default:
        break;
    }
}
