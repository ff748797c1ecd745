#include "drive/pieces.h"

#include <string.h>

void pieces_of(struct pieces *pieces, const struct transfer *transfer)
{
    const struct msghdr *message = transfer->data;
    pieces->whole = (struct iovec){transfer->data, transfer->size};
    pieces->first = &pieces->whole;
    pieces->count = 0;
    if (transfer->flags & MSG_TRUNC)
        return; /* nobody gets to see what is received */
    switch (transfer->call) {
    case TRANSFER_WRITE:
    case TRANSFER_SEND:
    case TRANSFER_SENDTO:
    case TRANSFER_READ:
    case TRANSFER_RECV:
    case TRANSFER_RECVFROM:
        pieces->count = 1;
        break;
    case TRANSFER_WRITEV:
    case TRANSFER_READV:
        pieces->first = transfer->data;
        pieces->count = transfer->count;
        break;
    case TRANSFER_SENDMSG:
    case TRANSFER_RECVMSG:
        pieces->first = message->msg_iov;
        pieces->count = message->msg_iovlen;
        break;
    default:
        break;
    }
}

const void *pieces_joined(const struct pieces *pieces, size_t size, void *room, size_t room_bytes)
{
    if (pieces->count && pieces->first->iov_len >= size)
        return pieces->first->iov_base;
    size_t joined = 0;
    for (size_t i = 0; i < pieces->count && joined < size && size <= room_bytes; i++) {
        size_t here = pieces->first[i].iov_len < size - joined ? pieces->first[i].iov_len : size - joined;
        memcpy((char *)room + joined, pieces->first[i].iov_base, here);
        joined += here;
    }
    return joined == size ? room : NULL;
}
