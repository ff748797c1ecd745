/* What is said on a connection before the first request is answered, where a protocol is known to say more than requests and
 * answers: a TLS handshake is answered, and says little of who serves the requests behind it; then a server of TLS 1.3 may
 * send session tickets, and one of HTTP/2 its settings, while the first request is under way. What comes is judged by how
 * long it is, as all else is encrypted. In doubt it is an answer. */
#ifndef POLICY_OPENING_H
#define POLICY_OPENING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroes: no opening is known. A value to be copied, and exchanged as a whole. */
struct opening {
    uint64_t stage : 2;
    uint64_t has_request : 1;    /* what the client has sent after the handshake, by HTTP/2 */
    uint64_t header_bytes : 4;   /* that have come of the header of a record, or of a frame */
    uint64_t type : 5;           /* its type; 31: none that matters */
    uint64_t rest : 15;          /* bytes of it that are still to come; of its header: its length so far */
    uint64_t tickets : 2;        /* that have come; TICKETS_OVER: no more are expected */
    uint64_t ticket_bytes : 10;  /* the length of the first */
    uint64_t session_bytes : 10; /* the length of the client's */
    uint64_t asked_bytes : 6;    /* that the client has sent after the handshake; at most 63 */
    uint64_t offers_http2 : 1;
    uint64_t speaks_http2 : 1;
    uint64_t is_old : 1;    /* the server's hello was one of TLS 1.2 or less */
    uint64_t is_sealed : 1; /* the server's handshake is encrypted: TLS 1.3 */
    uint64_t has_settings : 1;
    uint64_t is_doubtful : 1; /* whether the settings were all that was in their record */
    uint64_t is_at_start : 1; /* of a server's handshake: its hello may come */
};
_Static_assert(sizeof(struct opening) == sizeof(uint64_t), "it is exchanged as a whole");

/* What a client sends first. False: none of these protocols is known by it, or a part of it is not there. */
bool opening_begins(struct opening *opening, const void *bytes, size_t size);

/* ... and what it sends then: `size` bytes of `sent` are there. */
void opening_sent(struct opening *opening, const void *bytes, size_t size, size_t sent);

/* Need nobody answer what a client sends, as a whole, before opening_sent? Ends of handshakes, alerts, frames. */
bool opening_needs_no_answer(const struct opening *opening, const void *bytes, size_t sent);

/* May such a client send so many bytes while it is in doubt, and that says nothing of the doubt? */
bool opening_may_go_on(const struct opening *opening, size_t sent);

/* Without TLS: http2.h sees its frames. */
bool opening_is_plain(const struct opening *opening);

enum opening_says {
    OPENING_HANDSHAKES, /* this answers what was sent, which was no request */
    OPENING_PREPARES,   /* this answers nothing */
    OPENING_DOUBTS,     /* that depends on what comes next, or that nothing does: opening_settled */
    OPENING_IS_OVER,    /* this is an answer, or the beginning of one */
};

/* What a server sends. */
enum opening_says opening_received(struct opening *opening, const void *bytes, size_t size);
#define OPENING_NEXT_BYTES 5 /* of a record that end a doubt */

/* Is it in doubt? Then nothing more has come, and what is that to mean? */
bool opening_is_in_doubt(const struct opening *opening);
enum opening_says opening_settled(struct opening *opening);

/* Has a part of something come, and the rest not yet? */
bool opening_is_midway(const struct opening *opening);

#endif
