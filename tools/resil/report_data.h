/* What `resil report` shows, as data: hosts with their circuits over time, what happened, and what it amounts to. */
#ifndef RESIL_REPORT_DATA_H
#define RESIL_REPORT_DATA_H

#include <stdint.h>

#include "segments.h"

struct json_object;

/* Of events of the last `since_ns`; 0: of all that are recorded. */
struct json_object *report_data(const struct segments *segments, uint64_t since_ns);

#endif
