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

/* How long each of the `longer` longest can be at most: where the others are as short as their buckets let them be. */
static double longest_ns(const uint64_t counts[LATENCY_BUCKETS], double sum_ns, double all, double longer)
{
    double rest = all - longer;
    for (unsigned bucket = 0; bucket < LATENCY_BUCKETS && rest > 0; bucket++) {
        double here = (double)counts[bucket] < rest ? (double)counts[bucket] : rest;
        sum_ns -= here * (double)(bucket ? bounds_ns[bucket - 1] : 0);
        rest -= here;
    }
    return sum_ns / longer;
}

uint64_t latency_quantile_ns(const uint64_t counts[LATENCY_BUCKETS], uint64_t sum_ns, uint32_t share_ppm)
{
    double all = 0, before = 0;
    for (unsigned bucket = 0; bucket < LATENCY_BUCKETS; bucket++)
        all += (double)counts[bucket];
    double wanted = all * share_ppm / PPM_ONE;
    for (unsigned bucket = 0; bucket < LAST; bucket++) {
        double here = (double)counts[bucket];
        if (here > 0 && before + here >= wanted) {
            uint64_t from_ns = bucket ? bounds_ns[bucket - 1] : 0;
            double into_ns = (double)(bounds_ns[bucket] - from_ns) * (wanted - before) / here;
            double longer = all - wanted > 1 ? all - wanted : 1;
            double most_ns =
                sum_ns ? longest_ns(counts, (double)sum_ns, all, longer) - (double)from_ns : into_ns;
            into_ns = most_ns < into_ns ? most_ns : into_ns;
            return from_ns + (into_ns > 0 ? (uint64_t)into_ns : 0);
        }
        before += here;
    }
    return all > 0 ? bounds_ns[LAST - 1] : 0;
}
