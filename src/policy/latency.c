#include "policy/latency.h"

#include "policy/random.h"

#define LAST (LATENCY_BUCKETS - 1)

static const uint64_t bounds_ns[] = {
#define BOUND(ns) UINT64_C(ns),
    LATENCY_BOUNDS(BOUND)
#undef BOUND
};

uint64_t latency_bound_ns(unsigned bucket)
{
    return bucket < LAST ? bounds_ns[bucket] : UINT64_MAX;
}

unsigned latency_bucket(uint64_t ns)
{
    unsigned bucket = 0;
    while (bucket < LAST && ns > bounds_ns[bucket])
        bucket++;
    return bucket;
}

uint64_t latency_quantile_ns(const uint64_t counts[LATENCY_BUCKETS], uint32_t share_ppm)
{
    double all = 0, before = 0;
    for (unsigned bucket = 0; bucket < LATENCY_BUCKETS; bucket++)
        all += (double)counts[bucket];
    double wanted = all * share_ppm / PPM_ONE;
    for (unsigned bucket = 0; bucket < LAST; bucket++) {
        double here = (double)counts[bucket];
        if (here > 0 && before + here >= wanted) {
            uint64_t from_ns = bucket ? bounds_ns[bucket - 1] : 0;
            return from_ns + (uint64_t)((double)(bounds_ns[bucket] - from_ns) * (wanted - before) / here);
        }
        before += here;
    }
    return all > 0 ? bounds_ns[LAST - 1] : 0;
}
