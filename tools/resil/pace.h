/* Hosts over time, as somebody watches them: what happened since the last look, and in the last minute. */
#ifndef RESIL_PACE_H
#define RESIL_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "history.h"
#include "hosts.h"
#include "segments.h"

enum {
    PACE_LOOKS = 120,   /* so many are remembered */
    PACE_SNAPSHOTS = 7, /* of latencies, PACE_SNAPSHOT_NS apart */
};

/* What came with one look. */
struct pace_step {
    uint32_t calls;
    uint32_t bad; /* failed, rejected or limited */
};

struct pace {
    const struct segment_file *file;
    struct host_view host; /* at the last look */
    double calls_per_s;
    struct host_quantiles latencies[LATENCY_KINDS]; /* of the last minute, or of all time if it has none */
    struct pace_step steps[PACE_LOOKS];             /* ... before the last look, it included */
    size_t step_count;                              /* the last one is at (step_count - 1) % PACE_LOOKS */
    char last_event[320];                           /* "12:33:01 connect refused ..."; empty: none so far */
    struct {
        char name[64]; /* of the segment's file */
        uint64_t key;
        uint64_t seen_ns, snapshot_ns;
        uint64_t snapshots[PACE_SNAPSHOTS][LATENCY_KINDS][LATENCY_BUCKETS];
        size_t snapshot_count;
        bool is_there; /* at the last look */
    } kept;
};

struct paces {
    struct pace **hosts; /* in the order of hosts_list, rule file by rule file */
    size_t count;
    struct history history;
};

/* Looks again. What has gone is forgotten; a host that came anew begins with nothing. */
void paces_look(struct paces *paces, const struct segments *segments);
void paces_end(struct paces *paces);

/* What came so many looks ago; 0: with the last one. */
struct pace_step pace_step(const struct pace *pace, size_t ago);

#endif
