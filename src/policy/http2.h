/* What of HTTP/2 is a request and what is not, as far as frames can be seen, or only how long they are. */
#ifndef POLICY_HTTP2_H
#define POLICY_HTTP2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP2_FRAME_HEADER_BYTES 9 /* RFC 9113, 4.1: length 3 | type 1 | flags 1 | stream 4 */

/* Does a client that says this first speak it without TLS (RFC 9113, 3.4)? */
#define HTTP2_BEGINS 'P'
bool http2_is_preface(const void *bytes, size_t size);

/* `bytes` are all that one call of such a client has sent. Is there a request in it? */
bool http2_has_request(const void *bytes, size_t size);

/* Are they whole frames which nobody has to answer: that it has heard, how much more it takes, that it wants no more? */
bool http2_needs_no_answer(const void *bytes, size_t size);

/* Are these frames, or may so many bytes over TLS be one, which take a request back? What is taken in is acknowledged by as many. */
bool http2_gives_up(const void *bytes, size_t size);
bool http2_may_give_up(size_t size);

/* Is that frame of a server's none that answers a request: its settings, how much it takes, that it has heard? */
bool http2_is_about_connection(uint8_t type);

/* May so many bytes that a client has sent over TLS be frames which nobody has to answer? Of 9, 13 or 17 bytes (RFC 9113, 6.5,
 * 6.7 and 6.9) or two of them, with what encryption adds: 22 bytes (RFC 8446, 5.2), or 29 up to TLS 1.2 (RFC 5288). A short
 * request may be as long. */
bool http2_may_need_no_answer(size_t size);

/* Lengths of records that a server sends before it answers, without their headers of 5 bytes. `is_sealed`: by TLS 1.3, else by
 * TLS 1.2. A server says its settings first (RFC 9113, 3.4), and then that it has heard the client's. */
bool http2_may_be_settings(size_t record_bytes);
bool http2_is_settings(size_t record_bytes, bool is_sealed); /* and has no room for an answer */
bool http2_is_settings_heard(size_t record_bytes, bool is_sealed);

/* A client has sent `before` bytes over TLS, and then `sent`. Is there certainly a request in them? First it sends its preface of
 * 24 bytes and its settings, and perhaps how much it takes: a short request that comes with these cannot be told from them. */
bool http2_is_request(size_t before, size_t sent);

#endif
