/* The faults of all rule files that programs have used, as somebody watches them. */
#ifndef RESIL_FAULT_LIST_H
#define RESIL_FAULT_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault_sites.h"
#include "fault_switch.h"
#include "rules/faults.h"
#include "segments.h"

struct listed_fault {
    const struct segment_file *file;
    uint64_t identity; /* as in struct named_fault */
    char name[64];
    struct fault_text what;
    struct fault_switched_text switched;
    enum fault_steering steering; /* as it is now */
    uint64_t fired;
    char places[16];
};

struct fault_list {
    struct listed_fault *faults; /* rule file by rule file, as they stand there */
    size_t count;
};

/* Looks again: only names with `find` in them (empty: all). Rule files that cannot be used have none. */
void fault_list_look(struct fault_list *list, const struct segments *segments, const char *find);
void fault_list_end(struct fault_list *list);

#endif
