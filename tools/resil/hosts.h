/* The hosts in a segment, copied out of it and bounded. */
#ifndef RESIL_HOSTS_H
#define RESIL_HOSTS_H

#include "policy/breaker.h"
#include "state/segment.h"
#include "state/served.h"

struct host_view {
    const struct host *host; /* in the segment */
    char target[sizeof((struct host *)0)->target + 1];
    char rule[sizeof((struct host *)0)->rule + 1];
    struct breaker_view breaker;
    uint64_t
        left_ns; /* open: until a probe is due; half-open: until the probe that is out counts as lost. 0: now */
    uint64_t idle_ns;   /* since the last call */
    uint32_t probe_pid; /* who holds the probe; 0: nobody, or not known */
    enum steering steering;
    struct served served; /* by which rung of its rule's ladder, last */
    uint64_t counts[HOST_COUNT_KINDS];
    uint64_t latencies[LATENCY_KINDS][LATENCY_BUCKETS];
    uint64_t latency_sums_ns[LATENCY_KINDS];
    uint64_t spared_ns; /* that calls would not have waited, were their rule enforced */
};

struct host_list {
    struct host_view *hosts;
    size_t count;
};

/* Those that were used: circuits that are not closed first, then by target. */
struct host_list hosts_list(const struct segment *segment);
void hosts_end(struct host_list *list);

/* "open, probe in 3.2s" */
struct host_state_text {
    char text[64];
};
struct host_state_text host_state_text(const struct host_view *host);

/* "served by a fallback host 3.2s ago"; empty where it was the host itself. */
struct host_served_text {
    char text[64];
};
struct host_served_text host_served_text(const struct host_view *host);

/* "lookups_failed", and for people "lookups failed". */
const char *host_count_name(unsigned count);
struct host_count_label {
    char text[32];
};
struct host_count_label host_count_label(unsigned count);

/* "first_byte". */
const char *host_latency_name(unsigned kind);
const char *host_latency_help(unsigned kind);

struct host_quantiles {
    uint64_t count, median_ns, p99_ns;
};
struct host_quantiles host_quantiles(const uint64_t counts[LATENCY_BUCKETS],
                                     uint64_t sum_ns); /* 0: not known */

#endif
