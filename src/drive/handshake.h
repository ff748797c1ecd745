/* What of TLS a program sends without expecting an answer: the end of a handshake, and what an HTTP/2 client says of itself. */
#ifndef DRIVE_HANDSHAKE_H
#define DRIVE_HANDSHAKE_H

#include "drive/transfer.h"
#include "policy/tls_flight.h"
#include "state/pending.h"

/* The call has sent `sent` bytes, 1 or more. Are they the end of a handshake, and nothing else? */
bool handshake_is_over(const struct transfer *transfer, size_t sent);

/* Keeps what the call has sent, of which the answer is timed: how much it was (1 or more), and whether the client speaks HTTP/2
 * perhaps. `is_begun`: nothing was awaited before. */
void handshake_sent(struct descriptor *entry, const struct transfer *transfer, size_t sent, bool is_begun);

/* Is that of any use? Only to connections of such clients, and to find out which are. */
static inline bool handshake_concerns(const struct descriptor *entry)
{
    const struct pending *pending = pending_of(entry);
    return pending && (atomic_load_explicit(&entry->state, memory_order_relaxed) & FIRST_EXCHANGE ||
                       atomic_load_explicit(&pending->may_be_http2, memory_order_relaxed));
}

/* The same for one piece, of which drive/quick.h keeps the size. */
void handshake_offered(struct descriptor *entry, const void *data, size_t size);
static inline void handshake_look(struct descriptor *entry, const void *data, size_t size)
{
    if (__builtin_expect(*(const uint8_t *)data == TLS_HELLO_BEGINS, 0))
        handshake_offered(entry, data, size);
}

#endif
