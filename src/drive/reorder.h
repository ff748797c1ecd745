/* Datagrams that overtake others: what is behind the first one in the queue is received before it.
 *
 * The first one stays where it is: those that overtake it are looked at (SO_PEEK_OFF), given to the program, and thrown away
 * once the first one has been received. So the kernel itself goes on saying that there is something to receive, to everybody
 * who waits, for as long as there is; and what a program leaves behind when it closes is no more than what had come. */
#ifndef DRIVE_REORDER_H
#define DRIVE_REORDER_H

#include "drive/transfer.h"
#include "state/faults.h"

/* The second datagram instead of the first one, which at most `depth` are to overtake. False: there is none, or it cannot be
 * had so. To be called, as the other one, by whoever has claimed the direction. */
bool reorder_begin(struct flow *flow, struct descriptor *entry, const struct transfer *transfer,
                   uint32_t depth, ssize_t *result);

/* Is the next one to be received by reorder_go_on? */
static inline bool reorder_is_on(const struct flow *flow)
{
    return flow->sides[FAULT_RECV].overtaken.passed;
}

/* One more that overtakes, or the first one at last. Returns as the call does. */
ssize_t reorder_go_on(struct flow *flow, struct descriptor *entry, const struct transfer *transfer);

#endif
