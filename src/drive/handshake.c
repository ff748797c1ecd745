#include "drive/handshake.h"

#include <string.h>

#include "policy/tls_flight.h"

#define LARGEST_IN_PARTS 256u

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
