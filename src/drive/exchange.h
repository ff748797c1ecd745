/* Requests and answers on a connection, as far as a breaker cares: something was sent, and the first byte came back,
 * or did not. Kept only under a `response` timeout. errno is untouched. */
#ifndef DRIVE_EXCHANGE_H
#define DRIVE_EXCHANGE_H

#include "drive/transfer.h"

void exchange_begun(struct descriptor *entry);
void exchange_answered(struct descriptor *entry, const struct transfer *transfer);

/* A call ended with `error`; 0: the peer has closed. Counts where an answer was due. */
void exchange_broken(struct descriptor *entry, int error);

/* The descriptor goes away with this entry: gives back what it held. */
void exchange_abandoned(struct descriptor *entry);

#endif
