#include "policy/opening.h"

#include "policy/http2.h"
#include "policy/tls_flight.h"
#include "policy/tls_hello.h"

enum stage { OVER, HELLO, TLS, PLAIN };
enum { CHANGE_CIPHER = 20, ALERT = 21, HANDSHAKE = 22, APPLICATION_DATA = 23, NO_TYPE = 31 };
#define RECORD_HEADER_BYTES 5
#define LARGEST_RECORD      (16384u + 2048u) /* RFC 5246, 6.2.3 */

/* Sessions of OpenSSL: 2 tickets after a full handshake, each in a record of its own, both equally long; 1 where a session goes
 * on, and that is as long as the ticket that the client has shown. Around the ticket are 25 bytes and what encryption adds,
 * and 8 more where it allows early data (RFC 8446, 4.6.1). */
enum { NO_TICKET, ONE_TICKET, TICKETS_OVER };
#define SMALLEST_TICKET  60u
#define LARGEST_TICKET   600u
#define AROUND_TICKET    (25u + 17u)
#define EARLY_DATA_BYTES 8u
#define MOST_ASKED_BYTES 63u

static bool header_is_complete(struct opening *opening, const uint8_t **bytes, size_t *size);
static void look_at_hello(struct opening *opening, const uint8_t *bytes, size_t size);
static enum opening_says record_of_handshake(struct opening *opening);
static enum opening_says record_of_server(struct opening *opening);
static enum opening_says record_of_http2(struct opening *opening, size_t length);
static enum opening_says frame_of_server(const struct opening *opening);

bool opening_begins(struct opening *opening, const void *bytes, size_t size)
{
    *opening = (struct opening){.stage = OVER};
    if (http2_is_preface(bytes, size)) {
        opening->stage = PLAIN;
        opening_sent(opening, bytes, size, size);
        return true;
    }
    struct tls_client_hello hello = tls_client_hello(bytes, size);
    if (!hello.is_one)
        return false;
    opening->stage = HELLO;
    opening->offers_http2 = hello.offers_http2;
    opening->session_bytes = hello.session_bytes <= LARGEST_TICKET ? hello.session_bytes & 0x3ffu : 0;
    return true;
}

void opening_sent(struct opening *opening, const void *bytes, size_t size, size_t sent)
{
    const uint8_t *first = bytes;
    size_t asked = sent;
    if (opening->stage == PLAIN && http2_has_request(bytes, size))
        opening->has_request = 1;
    if (opening->stage == HELLO) {
        bool is_data = size && (first[0] == APPLICATION_DATA || (first[0] == CHANGE_CIPHER && sent > 6 &&
                                                                 size > 6 && first[6] == APPLICATION_DATA));
        bool is_known = size && first[0] >= CHANGE_CIPHER && first[0] <= APPLICATION_DATA;
        if (!is_data) {
            opening->stage = is_known ? HELLO : OVER;
            return;
        }
        size_t before = opening->is_sealed ? tls_flight_before_requests(bytes, size) : 0;
        opening->stage = TLS;
        opening->tickets = before ? NO_TICKET : TICKETS_OVER;
        asked -= before;
    }
    if (opening->stage == TLS) {
        size_t all = opening->asked_bytes + asked;
        opening->has_request |= http2_is_request(opening->asked_bytes, asked);
        opening->asked_bytes = all < MOST_ASKED_BYTES ? all & 0x3fu : MOST_ASKED_BYTES;
    }
}

bool opening_needs_no_answer(const struct opening *opening, const void *bytes, size_t sent)
{
    const uint8_t *first = bytes;
    bool is_alert = sent >= RECORD_HEADER_BYTES && first[0] == ALERT && first[1] == 3;
    switch (opening->stage) {
    case PLAIN:
        return http2_needs_no_answer(bytes, sent);
    case HELLO:
        if (is_alert || (sent == RECORD_HEADER_BYTES + 1 && first[0] == CHANGE_CIPHER))
            return true;
        /* Its change of cipher may have been sent before, and that of TLS 1.3 means nothing. */
        if (opening->is_sealed && tls_flight_before_requests(bytes, sent) == sent)
            return true;
        return tls_flight_is_last(bytes, sent);
    case TLS: /* an alert of TLS 1.3: 2 bytes, and what encryption adds */
        return is_alert || (opening->is_sealed && sent == RECORD_HEADER_BYTES + 2 + 17);
    default:
        return tls_flight_is_last(bytes, sent);
    }
}

bool opening_may_go_on(const struct opening *opening, size_t sent)
{
    return opening->speaks_http2 && http2_may_need_no_answer(sent);
}

bool opening_is_plain(const struct opening *opening)
{
    return opening->stage == PLAIN;
}

enum opening_says opening_received(struct opening *opening, const void *bytes, size_t size)
{
    const uint8_t *next = bytes;
    enum opening_says says = opening->stage == HELLO ? OPENING_HANDSHAKES : OPENING_PREPARES;
    while (opening->stage != OVER && size) {
        if (!opening->header_bytes && opening->rest) {
            size_t here = opening->rest < size ? opening->rest : size;
            if (opening->is_at_start)
                look_at_hello(opening, next, here);
            opening->rest -= here & 0x7fffu;
            next += here;
            size -= here;
            continue;
        }
        if (!header_is_complete(opening, &next, &size))
            break;
        enum opening_says of_it = opening->stage == HELLO ? record_of_handshake(opening)
                                  : opening->stage == TLS ? record_of_server(opening)
                                                          : frame_of_server(opening);
        if (of_it == OPENING_IS_OVER)
            opening->stage = OVER;
        else if (of_it == OPENING_HANDSHAKES)
            says = of_it;
    }
    if (opening->stage == OVER)
        return OPENING_IS_OVER;
    return opening_is_in_doubt(opening) ? OPENING_DOUBTS : says;
}

bool opening_is_in_doubt(const struct opening *opening)
{
    bool is_one = opening->tickets == ONE_TICKET || opening->is_doubtful;
    return opening->stage == TLS && is_one && !opening_is_midway(opening);
}

enum opening_says opening_settled(struct opening *opening)
{
    enum opening_says says = OPENING_PREPARES;
    if (opening->tickets == ONE_TICKET)
        says = record_of_http2(opening, opening->ticket_bytes);
    opening->tickets = TICKETS_OVER;
    if (opening->is_doubtful)
        says = OPENING_IS_OVER;
    if (says == OPENING_IS_OVER)
        opening->stage = OVER;
    return says;
}

bool opening_is_midway(const struct opening *opening)
{
    return opening->stage != OVER && (opening->header_bytes || opening->rest);
}

/* Takes bytes of a header; what is longer than anything that comes before an answer ends the opening. */
static bool header_is_complete(struct opening *opening, const uint8_t **bytes, size_t *size)
{
    bool is_frame = opening->stage == PLAIN;
    unsigned header = is_frame ? HTTP2_FRAME_HEADER_BYTES : RECORD_HEADER_BYTES;
    unsigned first_of_length = is_frame ? 0 : 3, end_of_length = is_frame ? 3 : 5,
             place_of_type = is_frame ? 3 : 0;
    while (*size && opening->stage != OVER) {
        unsigned place = opening->header_bytes;
        uint8_t byte = *(*bytes)++;
        --*size;
        if (place == place_of_type)
            opening->type = byte < NO_TYPE ? byte & 0x1fu : NO_TYPE;
        if (place >= first_of_length && place < end_of_length) {
            unsigned length = (unsigned)opening->rest << 8 | byte;
            if (length > LARGEST_RECORD)
                opening->stage = OVER;
            opening->rest = length & 0x7fffu;
        }
        if (place + 1 == header) {
            opening->header_bytes = 0;
            return true;
        }
        opening->header_bytes = (place + 1) & 0xfu;
    }
    return false;
}

/* As much of it as has come with its beginning. */
static void look_at_hello(struct opening *opening, const uint8_t *bytes, size_t size)
{
    struct tls_server_hello hello = tls_server_hello(bytes, size);
    opening->is_at_start = 0;
    opening->is_old |= hello.is_old;
    opening->speaks_http2 |= opening->offers_http2 && hello.agrees_on_http2;
}

/* In TLS 1.3 all but the hello is encrypted, and in earlier versions nothing of that type comes before an answer. What it says
 * first there is which protocol it agrees on (RFC 8446, 4.3.1: header 4 | all 2+ | each type 2 | content 2+), and perhaps that
 * it knows the name: 4 bytes more. */
static enum opening_says record_of_handshake(struct opening *opening)
{
    size_t length = opening->rest;
    switch (opening->type) {
    case HANDSHAKE:
        opening->is_at_start = 1;
        return OPENING_HANDSHAKES;
    case APPLICATION_DATA: {
        if (opening->is_old) { /* its handshake is over, and it speaks first */
            opening->stage = TLS;
            opening->tickets = TICKETS_OVER;
            return record_of_server(opening);
        }
        size_t agreed = 4 + 2 + (2 + 2 + 2 + 1 + 2) + 17;
        if (!opening->is_sealed)
            opening->speaks_http2 = opening->offers_http2 && (length == agreed || length == agreed + 4);
        opening->is_sealed = 1;
        return OPENING_HANDSHAKES;
    }
    case CHANGE_CIPHER:
    case ALERT:
        return OPENING_HANDSHAKES;
    default:
        return OPENING_IS_OVER;
    }
}

static enum opening_says record_of_server(struct opening *opening)
{
    size_t length = opening->rest;
    /* The end of a handshake of TLS 1.2, where the client has not waited for it (RFC 7918), or another handshake, which may take the
     * client's user any time. */
    if (opening->type == HANDSHAKE || opening->type == CHANGE_CIPHER)
        return OPENING_HANDSHAKES;
    if (opening->type != APPLICATION_DATA)
        return OPENING_IS_OVER;
    if (opening->tickets == ONE_TICKET) {
        opening->tickets = TICKETS_OVER;
        if (length == opening->ticket_bytes)
            return OPENING_PREPARES;
        enum opening_says first = record_of_http2(opening, opening->ticket_bytes);
        return first == OPENING_IS_OVER ? first : record_of_http2(opening, length);
    }
    size_t session = opening->session_bytes;
    if (opening->tickets == NO_TICKET && session &&
        (length == session + AROUND_TICKET || length == session + AROUND_TICKET + EARLY_DATA_BYTES)) {
        opening->tickets = TICKETS_OVER;
        return OPENING_PREPARES;
    }
    if (opening->tickets == NO_TICKET && length >= SMALLEST_TICKET && length <= LARGEST_TICKET) {
        opening->tickets = ONE_TICKET;
        opening->ticket_bytes = length & 0x3ffu;
        return OPENING_PREPARES;
    }
    opening->tickets = TICKETS_OVER;
    return record_of_http2(opening, length);
}

/* A server's settings answer the client's, and no request. An answer may be in their record, where there is room for it; but then
 * that the server has heard the client's settings, which came before the request, is in it too, and does not follow. */
static enum opening_says record_of_http2(struct opening *opening, size_t length)
{
    if (!opening->speaks_http2)
        return OPENING_IS_OVER;
    bool is_first = !opening->has_settings && http2_may_be_settings(length);
    if (!is_first && !http2_is_settings_heard(length, opening->is_sealed))
        return OPENING_IS_OVER;
    opening->is_doubtful = is_first && opening->has_request && !http2_is_settings(length, opening->is_sealed);
    opening->has_settings = 1;
    return opening->has_request ? OPENING_PREPARES : OPENING_HANDSHAKES;
}

static enum opening_says frame_of_server(const struct opening *opening)
{
    if (!http2_is_about_connection((uint8_t)opening->type))
        return OPENING_IS_OVER;
    return opening->has_request ? OPENING_PREPARES : OPENING_HANDSHAKES;
}
