/* Connections that are not to what the program asked for: which rung of its rule's ladder serves them, and what the
 * program is to see instead of what is there.
 *
 * A record belongs to one entry of the descriptor table, which has its number. It is free again once the entry has no
 * use for it, whoever let go of that; so nothing has to be given back, and a call that never returns loses nothing. */
#ifndef STATE_DEGRADED_H
#define STATE_DEGRADED_H

#include <netinet/in.h>
#include <stdatomic.h>

#include "policy/ladder.h"
#include "state/descriptors.h"
#include "state/ladders.h"

struct degraded {
    struct descriptor *_Atomic entry;
    uint32_t number;
    enum rung_kind rung;
    bool presents_asked; /* getpeername: what the program asked for */
    socklen_t asked_length;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } asked;
    /* A stand-in (drive/stand_in.h). Who sends and receives changes them, and as to which of two threads that send at once is
     * answered nobody could tell. */
    bool stands_in;
    bool has_answered; /* the request: what is sent now belongs to it */
    bool hangs_up;     /* after an answer */
    uint32_t said;     /* so much of it */
    int end;           /* the descriptor of the other end; -1: closed */
    uint64_t end_cookie;
    const struct canned *canned;
    struct host_handle asked_host;        /* what it stands in for, and ... */
    const struct breaker_params *breaker; /* ... how its circuit is judged: kept for ever */
};

/* Notes it of a connection; NULL without memory. What a record was before is seen to by `let_go`. */
struct degraded *degraded_note(struct descriptor *entry, void (*let_go)(struct degraded *record));

/* The record of that number (descriptor.degraded), whoever has it; NULL: there is none. */
struct degraded *degraded_number(uint32_t number);

/* NULL: the connection is what the program asked for. */
struct degraded *degraded_of(const struct descriptor *entry);

#endif
