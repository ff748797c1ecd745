/* What segments hold, in the two text formats that Prometheus reads. */
#ifndef RESIL_EXPOSITION_H
#define RESIL_EXPOSITION_H

#include <stddef.h>
#include <stdio.h>

#include "segments.h"

enum exposition_format {
    OPENMETRICS,     /* OpenMetrics 1.0 */
    PROMETHEUS_TEXT, /* the older one, 0.0.4: for promtool and textfile collectors */
};

/* Its media type, as Content-Type says it. */
const char *exposition_type(enum exposition_format format);

/* All families of the segments that were found at the last scan. Of hosts the `hosts_most` that were called most; how many
 * were left out is a figure, too. */
void exposition_print(const struct segments *segments, enum exposition_format format, size_t hosts_most,
                      FILE *to);

#endif
