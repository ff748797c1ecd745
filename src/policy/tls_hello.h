/* The hellos of TLS, as far as they tell what is said afterwards. Of them a part may be there, and then as much is known. */
#ifndef POLICY_TLS_HELLO_H
#define POLICY_TLS_HELLO_H

#include <stdbool.h>
#include <stddef.h>

#define TLS_HELLO_BEGINS 22 /* the first byte that a client sends */

struct tls_client_hello {
    bool is_one;
    bool offers_http2;    /* RFC 7301: "h2" */
    size_t session_bytes; /* of the ticket that it would go on with (RFC 8446, 4.2.11); 0: none */
};

/* `bytes` are the beginning of what a client sends: a hello in its record, or something else. */
struct tls_client_hello tls_client_hello(const void *bytes, size_t size);

struct tls_server_hello {
    bool is_old;          /* it is there as a whole, and speaks TLS 1.2 or less */
    bool agrees_on_http2; /* TLS 1.3 keeps that to itself */
};

/* `bytes` are what a record of a server begins with, without its header: a hello, or something else. */
struct tls_server_hello tls_server_hello(const void *bytes, size_t size);

#endif
