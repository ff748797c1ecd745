/* What faults have done: the table at the end of `resil run --faults`, and that of `resil fault list`. */
#ifndef RESIL_FAULT_TABLE_H
#define RESIL_FAULT_TABLE_H

#include <stdio.h>

#include "rules/fault_names.h"
#include "state/segment.h"

/* How often each had fired, and from where, at some time. */
struct fault_counts {
    uint64_t fired[FAULT_SLOTS], would_fire[FAULT_SLOTS];
    uint64_t sites[FAULT_SLOTS][FAULT_SITES];
};
struct fault_counts fault_counts_of(const struct segment *segment);

/* How often a fault has fired since then, and at how many places. */
struct fault_account {
    uint64_t fired, would_fire;
    unsigned sites;
    bool has_more;                 /* places than there was room for */
    const struct fault_slot *slot; /* NULL: no program has had it armed */
};
struct fault_account fault_account_of(const struct segment *segment, const struct named_fault *fault,
                                      const struct fault_counts *before);

/* "4", "16+", "-" where nothing fired. */
struct sites_text {
    char text[16];
};
struct sites_text sites_text(const struct fault_account *account);

/* "5", "would 12" where faults are only told (RESIL_FAULTS=shadow), "5, would 12"; `none` where there is nothing. */
struct fired_text {
    char text[64];
};
struct fired_text fired_text(const struct fault_account *account, const char *none);

/* One row for each fault of the rules: which fired how often at how many places, and those that never fired. */
void fault_table_print(const struct ruleset *rules, const struct segment *segment,
                       const struct fault_counts *before, FILE *to);

#endif
