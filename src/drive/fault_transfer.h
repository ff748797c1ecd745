/* Faults on sends and receives: what waits is waited for inside the call, where it may wait. */
#ifndef DRIVE_FAULT_TRANSFER_H
#define DRIVE_FAULT_TRANSFER_H

#include "drive/transfer.h"

/* The whole call, of a descriptor that is FAULTY. Return as the call does. */
ssize_t fault_receive(struct descriptor *entry, const struct transfer *transfer);
ssize_t fault_send(struct descriptor *entry, const struct transfer *transfer);

#endif
