/* The fallback hosts of a ladder: which of them a call may try next. */
#ifndef DRIVE_FALLBACK_H
#define DRIVE_FALLBACK_H

#include "report/event.h"
#include "rules/rules.h"
#include "state/breakers.h"
#include "state/descent.h"

/* One address of a fallback host, whose circuit has let the call through. */
struct fallback_found {
    union descent_address address;
    socklen_t length;
    struct target target; /* its name is the ladder's */
    char text[52];        /* of the target */
    struct host_handle host;
    struct breaker_ticket ticket;
    enum breaker_verdict verdict;
    uint64_t time_ns; /* for this attempt; 0 = no bound */
};

/* The next rung that can serve this connect, told of those that cannot; RUNG_HOST: `found` says where to go. */
enum rung_kind fallback_find(struct descent *descent, uint64_t now_ns, struct fallback_found *found);

/* An address of the kind that the program's socket takes by now: once an IPv6 socket has been used for IPv4 it stays so. */
const struct sockaddr *fallback_like(const struct descent *descent);

/* Where it is, as far as that is known: at most so many addresses. */
unsigned fallback_addresses(const struct fallback *host, struct address *addresses, unsigned most);

/* Tells why what was tried last does not serve. */
void fallback_skipped(const struct descent *descent, enum skipped_reason why);

#endif
