/* Is what a client has sent the end of a TLS handshake? Then no answer is to be expected: the client's Finished comes last in
 * TLS 1.3, and in earlier versions where a session is resumed. Servers may say more then (tickets), and need not. */
#ifndef POLICY_TLS_FLIGHT_H
#define POLICY_TLS_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>

/* The first byte of it: what does not begin so need not be looked at. */
#define TLS_FLIGHT_BEGINS 20

/* `bytes` are all that one call has sent. Only what certainly is one is taken for it: records that begin with a change of cipher,
 * and end with what is as long as a Finished. */
bool tls_flight_is_last(const void *bytes, size_t size);

/* `bytes` are the beginning of what a client sends, or something else. Are they a hello that offers HTTP/2 (RFC 7301: "h2")? Then
 * not all that the client sends from then on need be answered: it says of itself how much it can take, and that it has heard. */
#define TLS_HELLO_BEGINS 22
bool tls_hello_offers_http2(const void *bytes, size_t size);

/* May so many bytes that such a client has sent be what nobody has to answer? Frames of 9, 13 or 17 bytes (RFC 9113, 6.5, 6.7 and
 * 6.9) or two of them, with what encryption adds: 22 bytes (RFC 8446, 5.2), or 29 up to TLS 1.2 (RFC 5288). A short request may
 * be as long. */
bool tls_may_be_http2_control(size_t size);

#endif
