/* What became of an operation, in the terms in which policy thinks about it. */
#ifndef POLICY_OUTCOME_H
#define POLICY_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

enum outcome {
    OUTCOME_SUCCESS,
    OUTCOME_REFUSED,     /* nobody listens there */
    OUTCOME_TIMEOUT,     /* no answer in time */
    OUTCOME_UNREACHABLE, /* a router or neighbour said so */
    OUTCOME_RESET,       /* the peer broke it off */
    OUTCOME_RESOLVE,     /* a lookup that may succeed later (EAI_AGAIN) */
    OUTCOME_ABSENT,      /* an authoritative "no such name": an answer, not a failure */
    OUTCOME_OURS,        /* our own side: no descriptor, no route, no permission, interrupted... */
};

/* The set of outcomes that may be retried is a mask of these. */
#define OUTCOME_BIT(outcome) (1u << (outcome))

/* Judges a connect that ended with `error` (0 = connected). `has_left` says whether anything was sent: a host
 * without a route gets ENETUNREACH or EHOSTUNREACH at once, and that is not the peer's fault.
 * What is not known to be the peer's doing is OUTCOME_OURS. */
enum outcome outcome_of_connect(int error, bool has_left);

/* Judges a lookup by what getaddrinfo returned; `error` is errno, read for EAI_SYSTEM only. */
enum outcome outcome_of_lookup(int eai, int error);

/* Does it count against the host? Success, OUTCOME_ABSENT and OUTCOME_OURS do not. */
bool outcome_is_failure(enum outcome outcome);

/* "refused", "timeout", ... as they are written in retry_on. */
const char *outcome_name(enum outcome outcome);

#endif
