#include "drive/handshake.h"

#include <errno.h>

#include "base/clock.h"
#include "drive/deadline.h"
#include "drive/exchange.h"
#include "drive/pieces.h"
#include "hooks/real.h"
#include "policy/tls_flight.h"

/* pending.http2 */
enum { NO_HTTP2, PERHAPS_OVER_TLS, IN_PLAINTEXT };
#define LARGEST_IN_PARTS 256u
#define NEEDS_NO_ANSWER  0 /* as asked_bytes; or it is not known yet */

static bool begin(struct descriptor *entry, int fd, const void *data, size_t size);
static void end(struct descriptor *entry, struct pending *pending);
static struct opening opening_of(const struct descriptor *entry);
static void mark(struct descriptor *entry, uint32_t bit);
static void note_sent(struct pending *pending, const void *data, size_t size, size_t sent);
static enum opening_says feed(struct opening *opening, const struct pieces *pieces, size_t size);

/* The kernel has just read what is looked at. */
bool handshake_is_unanswered(const struct descriptor *entry, const struct transfer *transfer, size_t sent)
{
    struct pieces pieces;
    uint8_t room[LARGEST_IN_PARTS];
    const struct pending *pending = pending_of(entry);
    struct opening opening = opening_of(entry);
    pieces_of(&pieces, transfer);
    if (!pieces.count || !pieces.first->iov_len)
        return false;
    bool is_frames = pending && atomic_load_explicit(&pending->http2, memory_order_relaxed) == IN_PLAINTEXT;
    if (!is_frames && !opening.stage && *(const uint8_t *)pieces.first->iov_base != TLS_FLIGHT_BEGINS)
        return false;
    const void *joined = pieces_joined(&pieces, sent, room, sizeof room);
    if (!joined)
        return false;
    return is_frames ? http2_needs_no_answer(joined, sent) : opening_needs_no_answer(&opening, joined, sent);
}

void handshake_sent(struct descriptor *entry, const struct transfer *transfer, size_t sent, bool is_begun)
{
    struct pieces pieces;
    uint8_t room[LARGEST_IN_PARTS];
    pieces_of(&pieces, transfer);
    size_t size = sent;
    const void *data = pieces_joined(&pieces, sent, room, sizeof room);
    if (!data && pieces.count) {
        data = pieces.first->iov_base;
        size = pieces.first->iov_len;
    } else if (!data) {
        size = 0;
    }
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    bool is_new =
        state & FIRST_EXCHANGE && !handshake_is_open(state) && size && begin(entry, transfer->fd, data, size);
    struct pending *pending = pending_of(entry);
    if (!pending)
        return;
    uint32_t before = is_begun ? 0 : atomic_load_explicit(&pending->asked_bytes, memory_order_relaxed);
    uint32_t bytes = sent < UINT32_MAX ? (uint32_t)sent : UINT32_MAX;
    uint32_t http2 = atomic_load_explicit(&pending->http2, memory_order_relaxed);
    bool is_frames = http2 == IN_PLAINTEXT && !is_new && size == sent && http2_needs_no_answer(data, size);
    uint32_t asked = is_frames ? NEEDS_NO_ANSWER : bytes;
    atomic_store_explicit(&pending->asked_bytes, asked > before ? asked : before, memory_order_relaxed);
    if (!is_new && handshake_is_open(state))
        note_sent(pending, data, size, sent);
    /* Perhaps it wants no answer any more. */
    bool gives_up =
        is_frames ? http2_gives_up(data, size) : http2 == PERHAPS_OVER_TLS && http2_may_give_up(sent);
    if (gives_up && !is_begun)
        exchange_undo(entry);
}

void handshake_offered(struct descriptor *entry, const void *data, size_t size)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    struct pending *pending = pending_of(entry);
    if (!pending)
        return;
    if (state & FIRST_EXCHANGE)
        begin(entry, pending->fd, data, size);
    else if (atomic_load_explicit(&pending->http2, memory_order_relaxed) == IN_PLAINTEXT &&
             http2_needs_no_answer(data, size))
        atomic_store_explicit(&pending->asked_bytes, NEEDS_NO_ANSWER, memory_order_relaxed);
}

bool handshake_is_unanswerable(const struct pending *pending)
{
    uint32_t asked = atomic_load_explicit(&pending->asked_bytes, memory_order_relaxed);
    switch (atomic_load_explicit(&pending->http2, memory_order_relaxed)) {
    case PERHAPS_OVER_TLS:
        return http2_may_need_no_answer(asked);
    case IN_PLAINTEXT:
        return asked == NEEDS_NO_ANSWER;
    default:
        return false;
    }
}

bool handshake_is_midway(const struct pending *pending)
{
    struct opening opening = atomic_load_explicit(&pending->opening, memory_order_relaxed);
    return opening_is_midway(&opening);
}

/* What follows may be sent and received by two threads at once. */
enum opening_says handshake_received(struct descriptor *entry, const struct transfer *transfer, size_t result)
{
    struct pending *pending = pending_of(entry);
    struct pieces pieces;
    pieces_of(&pieces, transfer);
    enum opening_says says = OPENING_IS_OVER;
    if (pending && pieces.count && !(transfer->flags & (MSG_PEEK | MSG_OOB))) {
        struct opening before = atomic_load_explicit(&pending->opening, memory_order_relaxed), after;
        atomic_store_explicit(&pending->doubted_us, exchange_us(clock_now_ns()), memory_order_relaxed);
        do {
            after = before;
            says = feed(&after, &pieces, result);
        } while (!atomic_compare_exchange_weak_explicit(&pending->opening, &before, after,
                                                        memory_order_relaxed, memory_order_relaxed));
    }
    if (says == OPENING_IS_OVER)
        end(entry, pending);
    return says;
}

bool handshake_is_followed(const struct descriptor *entry, int fd)
{
    struct opening opening = opening_of(entry);
    uint8_t next[OPENING_NEXT_BYTES];
    int error = errno;
    ssize_t there = real.recv(fd, next, sizeof next, MSG_PEEK | MSG_DONTWAIT);
    errno = error;
    return there == sizeof next && opening_received(&opening, next, sizeof next) == OPENING_PREPARES;
}

bool handshake_is_in_doubt(const struct descriptor *entry)
{
    struct opening opening = opening_of(entry);
    return opening_is_in_doubt(&opening);
}

bool handshake_may_go_on(const struct descriptor *entry, size_t sent)
{
    struct opening opening = opening_of(entry);
    return opening_may_go_on(&opening, sent);
}

enum opening_says handshake_settled(struct descriptor *entry, uint32_t *since_us)
{
    struct pending *pending = pending_of(entry);
    enum opening_says says;
    if (!pending)
        return OPENING_PREPARES;
    struct opening before = atomic_load_explicit(&pending->opening, memory_order_relaxed), after;
    do {
        after = before;
        if (!opening_is_in_doubt(&before))
            return OPENING_PREPARES; /* another thread was quicker */
        says = opening_settled(&after);
    } while (!atomic_compare_exchange_weak_explicit(&pending->opening, &before, after, memory_order_relaxed,
                                                    memory_order_relaxed));
    *since_us = atomic_load_explicit(&pending->doubted_us, memory_order_relaxed);
    if (says == OPENING_IS_OVER)
        end(entry, pending);
    return says;
}

/* Zeroes: none is known. */
static struct opening opening_of(const struct descriptor *entry)
{
    const struct pending *pending = pending_of(entry);
    struct opening opening = {.stage = 0};
    if (pending && handshake_is_open(atomic_load_explicit(&entry->state, memory_order_relaxed)))
        opening = atomic_load_explicit(&pending->opening, memory_order_relaxed);
    return opening;
}

static enum opening_says feed(struct opening *opening, const struct pieces *pieces, size_t size)
{
    enum opening_says says = OPENING_PREPARES;
    for (size_t i = 0; i < pieces->count && size && says != OPENING_IS_OVER; i++) {
        size_t here = pieces->first[i].iov_len < size ? pieces->first[i].iov_len : size;
        enum opening_says before = says;
        if (here)
            says = opening_received(opening, pieces->first[i].iov_base, here);
        if (says == OPENING_PREPARES)
            says = before;
        size -= here;
    }
    return says;
}

static bool begin(struct descriptor *entry, int fd, const void *data, size_t size)
{
    struct opening opening;
    uint8_t first = *(const uint8_t *)data;
    if (first != TLS_HELLO_BEGINS && first != HTTP2_BEGINS)
        return false;
    struct pending *pending = opening_begins(&opening, data, size) ? deadline_slot(entry, fd) : NULL;
    if (!pending)
        return false;
    uint32_t http2 = opening_is_plain(&opening) ? IN_PLAINTEXT
                     : opening.offers_http2     ? PERHAPS_OVER_TLS
                                                : NO_HTTP2;
    atomic_store_explicit(&pending->http2, http2, memory_order_relaxed);
    atomic_store_explicit(&pending->opening, opening, memory_order_relaxed);
    mark(entry, OPENING);
    return true;
}

static void end(struct descriptor *entry, struct pending *pending)
{
    if (pending)
        atomic_store_explicit(&pending->opening, (struct opening){.stage = 0}, memory_order_relaxed);
    mark(entry, 0);
}

/* The bit says something else once an answer is judged, which another thread may have received. */
static void mark(struct descriptor *entry, uint32_t bit)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    while (!(state & JUDGING) &&
           !atomic_compare_exchange_weak_explicit(&entry->state, &state, (state & ~OPENING) | bit,
                                                  memory_order_acq_rel, memory_order_relaxed))
        ;
}

static void note_sent(struct pending *pending, const void *data, size_t size, size_t sent)
{
    struct opening before = atomic_load_explicit(&pending->opening, memory_order_relaxed), after;
    do {
        after = before;
        opening_sent(&after, data, size, sent);
    } while (!atomic_compare_exchange_weak_explicit(&pending->opening, &before, after, memory_order_relaxed,
                                                    memory_order_relaxed));
}
