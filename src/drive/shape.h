/* Faults that take time, where nobody may wait inside a call: event loops.
 *
 * The call gets EAGAIN, what the program waits for is withheld (drive/withhold.h) until the fault lets it through, and the
 * call that comes then is made. So an operation is planned by the first call that could have been carried out, which is to
 * the program as if it had been woken for nothing, and is carried out by a later one. A black hole is withheld for ever. */
#ifndef DRIVE_SHAPE_H
#define DRIVE_SHAPE_H

#include "drive/faults.h"
#include "drive/transfer.h"
#include "state/pending.h"

/* A send or receive of a connected descriptor. SHAPE_NOTHING: no fault happens to it. SHAPE_NOW: make it, as `faulted` says,
 * and then say what became of it. SHAPE_LATER: it gets EAGAIN. */
enum shaped { SHAPE_NOTHING, SHAPE_NOW, SHAPE_LATER };
enum shaped shape_begin(struct faulted *faulted, struct flow *flow, enum fault_operation operation,
                        const struct transfer *transfer, struct descriptor *entry);

/* Before faults_end. errno is untouched. */
void shape_ended(struct faulted *faulted, const struct transfer *transfer, struct descriptor *entry,
                 ssize_t result);

/* The attempt that has just begun is late, if a fault says so (flow->connect_delay_ns): until then it is in flight, whatever
 * becomes of it. Of a claimed slot; of a descriptor that no rule is for. */
void shape_attempt(struct pending *pending, struct flow *flow);
void shape_connect(struct descriptor *entry, int fd, struct flow *flow);

#endif
