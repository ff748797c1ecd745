/* Under a rule that is not enforced: waits that it would have ended. They are told and counted once they are over, and nothing
 * is changed. Only descriptors with WAITS_ARE_TIMED pay for the clock. errno is untouched. */
#ifndef DRIVE_LATE_H
#define DRIVE_LATE_H

#include "drive/transfer.h"

/* A call has received, or waited in vain, since then; `was_awaiting`: it waited for an answer. */
void late_received(struct descriptor *entry, const struct transfer *transfer, bool was_awaiting,
                   uint64_t began_ns);

/* A call has sent `result` bytes, or failed. What it has sent begins the time of its answer. */
void late_sent(struct descriptor *entry, ssize_t result, uint64_t began_ns);

/* The answer that is awaited has begun, or never will. True: by now the rule would have given it up, which is told. */
bool late_answer(struct descriptor *entry);

#endif
