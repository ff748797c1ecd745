/* Faults on several messages at once: each meets its own, as if it had a call to itself. */
#ifndef DRIVE_FAULT_MESSAGES_H
#define DRIVE_FAULT_MESSAGES_H

#include "drive/transfer.h"

/* recvmmsg and sendmmsg, whole, of a descriptor that is FAULTY. Return as they do. */
ssize_t messages_receive(struct descriptor *entry, const struct transfer *transfer);
ssize_t messages_send(struct descriptor *entry, const struct transfer *transfer);

#endif
