/* Hosts as Prometheus sees them: one for each set of labels, and not too many. */
#ifndef RESIL_SERIES_H
#define RESIL_SERIES_H

#include <stddef.h>

#include "hosts.h"
#include "segments.h"

struct series {
    const struct segment_file *file;
    struct host_view host;
};

struct series_list {
    struct series *series;
    size_t count;
    size_t left_out;
};

/* Those that were called most, at most so many. Processes with two versions of a rule have a place each for the same host:
 * their counts are added up, and the circuit is that of the last call. */
struct series_list series_list(const struct segments *segments, size_t most);
void series_end(struct series_list *list);

#endif
