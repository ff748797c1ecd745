/* Inside the loader: reads `faults`. */
#ifndef RULES_FAULT_READ_H
#define RULES_FAULT_READ_H

#include "rules/faults.h"
#include "rules/reader.h"

/* One fault of the list. Gives the node of its name, if that is one. */
const struct node *fault_read(struct reader *reader, const struct node *node, struct fault *fault);

/* What a kind is made of: the mapping below its key. */
void fault_kind_read(struct reader *reader, const struct node *node, struct fault *fault);

/* Can it ever happen as it stands? Complains where it cannot. `on` is where its operations are named, or the fault itself. */
void fault_check(struct reader *reader, const struct node *node, const struct node *on,
                 const struct fault *fault);

/* "ECONNREFUSED, ETIMEDOUT, ..." */
void fault_add_errors_of(struct text *text, enum fault_operation operation);

/* A whole number from `least` on. */
bool fault_count_read(struct reader *reader, const struct node *node, const char *path, uint32_t least,
                      uint32_t *count);

#endif
