/* Faults that flip bits: of what was received, where it lies; of what is sent, in a copy. */
#ifndef DRIVE_FAULT_CORRUPT_H
#define DRIVE_FAULT_CORRUPT_H

#include "drive/faults.h"
#include "drive/transfer.h"

/* The call has received so many bytes. */
void fault_corrupt_received(struct faulted *faulted, const struct transfer *transfer, size_t bytes);

/* The call with other bytes, which lie in the flow's copy: the program's own are never touched. Not to be copied. */
struct corrupted {
    struct transfer transfer;
    struct msghdr message;
    struct iovec part;
    const struct transfer *original;
};

/* Makes it, of at most FLOW_COPY_BYTES. False: it cannot be had, or nothing of it changes. */
bool fault_corrupt_copy(struct faulted *faulted, const struct transfer *transfer, struct corrupted *copy);

/* So many bytes of the copy were sent: of a file, these have been read. errno is untouched. */
void fault_corrupt_sent(const struct corrupted *copy, size_t bytes);

#endif
