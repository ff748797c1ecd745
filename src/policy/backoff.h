/* How long to wait before a retry. */
#ifndef POLICY_BACKOFF_H
#define POLICY_BACKOFF_H

#include "policy/random.h"

enum jitter {
    JITTER_FULL,         /* uniform in [0, delay) */
    JITTER_EQUAL,        /* half the delay, and up to as much again */
    JITTER_DECORRELATED, /* uniform in [base, 3 x previous delay), which is cut at the maximum */
    JITTER_NONE,         /* the delay itself */
};

struct backoff_params {
    uint64_t base_delay_ns;
    uint64_t max_delay_ns; /* no delay is longer, whatever the jitter; 0 = no bound */
    uint32_t factor_ppm;   /* growth from one retry to the next; at least PPM_ONE */
    enum jitter jitter;
};

/* The delay before retry number `retry` (1 = the first), `previous_ns` being the one before (0 at first).
 * delay = base x factor^(retry - 1), capped, then jittered; it cannot overflow. */
uint64_t backoff_delay(const struct backoff_params *params, uint32_t retry, uint64_t previous_ns,
                       struct random *random);

#endif
