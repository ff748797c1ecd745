/* What a segment holds, for people and as JSON. */
#ifndef RESIL_SEGMENT_REPORT_H
#define RESIL_SEGMENT_REPORT_H

#include "segments.h"

struct json_object;

/* Hosts with their circuits and counters, events, and what passed through; on stdout. */
void segment_print(const struct segment_file *file);

/* The same, with every counter, those that are 0 too. Keys are stable, and documented in `resil status --help`. */
struct json_object *segment_report(const struct segment_file *file);

#endif
