/* How far down its rule's ladder a connect call has come. */
#ifndef STATE_DESCENT_H
#define STATE_DESCENT_H

#include <netinet/in.h>

#include "policy/ladder.h"
#include "state/breakers.h"
#include "state/ladders.h"

#define DESCENT_ADDRESSES_MAX 4u /* of one fallback host */

struct descent {
    const struct kept_ladder *kept; /* NULL: there is nothing to fall back to */
    struct ladder_place place;
    bool is_falling;          /* what is tried is a fallback host */
    bool is_mapped;           /* it is an IPv6 socket that has been used for IPv4 */
    bool is_limited;          /* the host is well: it was only too much at once for it */
    bool is_led;              /* its address is a fallback host's already */
    bool may_wait;            /* the call blocks ... */
    uint64_t own_until_ns;    /* ... until then at most, by the program's own timeout */
    bool is_waiting;          /* what comes next is a stand-in, after its delay */
    struct host_handle asked; /* what was asked for: place in the table, text and address */
    char asked_text[52];
    socklen_t asked_length;
    union descent_address {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } asked_address;
    int error;             /* that of the call itself */
    uint64_t began_ns;     /* with this fallback host */
    uint32_t next_address; /* of its addresses, to be tried after this one */
    uint16_t port;         /* of what is tried */
    struct address address;
};

#endif
