/* How long things took, as counts in buckets of fixed bounds: cheap to add to, to share, and to sum over processes. */
#ifndef POLICY_LATENCY_H
#define POLICY_LATENCY_H

#include <stdint.h>

/* BOUND(ns): 50 us to 60 s in steps of 1, 2, 5; what took longer is in one bucket more. */
#define LATENCY_BOUNDS(BOUND)                                                                                \
    BOUND(50000)                                                                                             \
    BOUND(100000)                                                                                            \
    BOUND(200000)                                                                                            \
    BOUND(500000)                                                                                            \
    BOUND(1000000)                                                                                           \
    BOUND(2000000)                                                                                           \
    BOUND(5000000)                                                                                           \
    BOUND(10000000)                                                                                          \
    BOUND(20000000)                                                                                          \
    BOUND(50000000)                                                                                          \
    BOUND(100000000)                                                                                         \
    BOUND(200000000)                                                                                         \
    BOUND(500000000)                                                                                         \
    BOUND(1000000000)                                                                                        \
    BOUND(2000000000)                                                                                        \
    BOUND(5000000000)                                                                                        \
    BOUND(10000000000)                                                                                       \
    BOUND(20000000000)                                                                                       \
    BOUND(60000000000)
enum {
#define BOUND(ns) +1
    LATENCY_BUCKETS = LATENCY_BOUNDS(BOUND) + 1
#undef BOUND
};

/* The longest time that still belongs to that bucket; UINT64_MAX for the last one. */
uint64_t latency_bound_ns(unsigned bucket);

/* Which bucket a time belongs to. */
unsigned latency_bucket(uint64_t ns);

/* The time that a share of all stayed below, as near as buckets and the sum of all times (0: not known) tell: within a bucket,
 * times are taken to be spread evenly, and so many as are longer cannot be longer than their sum allows. Of what lies in the
 * last bucket only its beginning is known. 0 when nothing was counted. */
uint64_t latency_quantile_ns(const uint64_t counts[LATENCY_BUCKETS], uint64_t sum_ns, uint32_t share_ppm);

#endif
