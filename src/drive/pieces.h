/* What a call has moved, in memory. */
#ifndef DRIVE_PIECES_H
#define DRIVE_PIECES_H

#include <stddef.h>
#include <sys/uio.h>

#include "drive/transfer.h"

struct pieces {
    struct iovec whole; /* where it is one */
    const struct iovec *first;
    size_t count; /* 0: it is elsewhere, or several messages */
};

/* Leads into itself: it is not to be copied. */
void pieces_of(struct pieces *pieces, const struct transfer *transfer);

/* The first `size` bytes of them as one, no more than `room` of them are copied there; where one piece holds them, that. NULL:
 * they are in more pieces, and there is no room. */
const void *pieces_joined(const struct pieces *pieces, size_t size, void *room, size_t room_bytes);

#endif
