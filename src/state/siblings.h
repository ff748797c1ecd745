/* The addresses of a name that one connect call may try. */
#ifndef STATE_SIBLINGS_H
#define STATE_SIBLINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/addresses.h"
#include "policy/call.h"
#include "rules/address.h"

struct siblings {
    unsigned count; /* of the others, in the order in which they are to be tried */
    unsigned known; /* of all addresses of the name, both families, the program's own among them */
    struct address others[CALL_SIBLINGS_MAX];
};

/* What is to be said of them when the call has failed, for who does not know the call any more then. */
struct siblings_marks {
    bool has_others; /* the name has several addresses */
    struct addresses_tried said;
    uint16_t marks[CALL_SIBLINGS_MAX]; /* of the siblings */
};

#endif
