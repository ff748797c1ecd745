/* The addresses of a name: which of them a connect call may try, and what its failure at some of them says of the name. */
#ifndef DRIVE_SIBLINGS_H
#define DRIVE_SIBLINGS_H

#include <netinet/in.h>

#include "drive/connect.h"
#include "state/siblings.h"

/* The other addresses of the name that the program has connected by: of the same family, and under the same rule. */
void siblings_find(struct siblings *siblings, const struct connecting *call);

/* Points the call at one of them, 1.. as in struct call_step, or with 0 at the program's own. Port, scope and whatever else
 * the address says stay the program's. */
void siblings_choose(const struct siblings *siblings, struct connecting *call, uint32_t number);

/* What the breaker is to hear of a call that has ended with `report` and `error` after trying the program's own address and
 * `tried` others (`siblings` may be NULL for none). */
enum breaker_report siblings_report(const struct siblings *siblings, const struct connecting *call,
                                    unsigned tried, enum breaker_report report, int error);

/* The same in two steps: what is known of the call now, and what it comes to later. */
void siblings_mark(struct siblings_marks *marks, const struct siblings *siblings,
                   const struct connecting *call);
enum breaker_report siblings_judge(const struct siblings_marks *marks, struct host_handle host,
                                   unsigned tried, enum breaker_report report, int error);

#endif
