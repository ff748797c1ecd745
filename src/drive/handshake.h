/* What connections say that is neither a request nor an answer: TLS handshakes and tickets, what HTTP/2 says of itself
 * (policy/opening.h). Kept in the slot of the connection (state/pending.h), also where the program blocks. */
#ifndef DRIVE_HANDSHAKE_H
#define DRIVE_HANDSHAKE_H

#include "drive/transfer.h"
#include "policy/http2.h"
#include "policy/opening.h"
#include "policy/tls_hello.h"
#include "state/pending.h"

/* The call has sent `sent` bytes, 1 or more. Are they the end of a handshake, or else what nobody answers, and nothing else? */
bool handshake_is_unanswered(const struct descriptor *entry, const struct transfer *transfer, size_t sent);

/* Keeps what the call has sent, of which the answer is timed: how much it was (1 or more), and what it says of the protocol.
 * `is_begun`: nothing was awaited before. */
void handshake_sent(struct descriptor *entry, const struct transfer *transfer, size_t sent, bool is_begun);

/* Is that of any use? Only on connections of such protocols, and to find out which are. */
static inline bool handshake_is_open(uint32_t state)
{
    return (state & (OPENING | JUDGING)) == OPENING;
}
static inline bool handshake_concerns(const struct descriptor *entry)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    if (state & FIRST_EXCHANGE || handshake_is_open(state))
        return true;
    const struct pending *pending = pending_of(entry);
    return pending && atomic_load_explicit(&pending->http2, memory_order_relaxed);
}

/* The same for one piece, of which drive/quick.h keeps the size. Hellos, prefaces and frames begin with one of a few bytes. */
void handshake_offered(struct descriptor *entry, const void *data, size_t size);
#define HANDSHAKE_BEGINS_WITHIN (TLS_HELLO_BEGINS | HTTP2_BEGINS)
static inline void handshake_look(struct descriptor *entry, const void *data, size_t size)
{
    if (__builtin_expect(!(*(const uint8_t *)data & ~HANDSHAKE_BEGINS_WITHIN), 0))
        handshake_offered(entry, data, size);
}

/* While it is open: the call has received `result` bytes, 1 or more. What are they? In doubt that depends on what comes next, and
 * once nothing did (it sends, ends or was long enough) it is settled: then `since_us` is when they came. */
enum opening_says handshake_received(struct descriptor *entry, const struct transfer *transfer,
                                     size_t result);
bool handshake_is_in_doubt(const struct descriptor *entry);
bool handshake_may_go_on(const struct descriptor *entry,
                         size_t sent); /* it sends so much, and that is no reason */
bool handshake_is_followed(const struct descriptor *entry,
                           int fd); /* by what ends the doubt, as the kernel has it */
enum opening_says handshake_settled(struct descriptor *entry, uint32_t *since_us);

bool handshake_is_midway(const struct pending *pending);

/* Nobody has to answer what was sent last, as far as its size tells. */
bool handshake_is_unanswerable(const struct pending *pending);

#endif
