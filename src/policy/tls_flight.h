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

/* How many of them are sent before the first request: up to the Finished of TLS 1.3. 0: there is none among them. */
size_t tls_flight_before_requests(const void *bytes, size_t size);

#endif
