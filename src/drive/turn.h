/* A connect call that does not block waits for its turn under a limit.
 *
 * Its descriptor is kept silent meanwhile, as between two attempts (drive/silence.h), and the program's own waits carry it on:
 * first come, first served. Nobody tells the first in the line that a place is free where its end is not seen; it looks again
 * from time to time, and who ends a connection that is seen calls it up. Signals are blocked, and the slot is claimed. */
#ifndef DRIVE_TURN_H
#define DRIVE_TURN_H

#include "drive/connect.h"
#include "state/pending.h"

/* Could the call wait? It does not block, and somebody follows what becomes of it. */
bool turn_may_wait(const struct connecting *call);

/* Do others wait for a place under that limit? Then who comes now goes behind them. */
bool turn_has_line(struct limit_handle limit);

/* The call waits, at least until call->turn_ns. False: the descriptor cannot be kept silent. */
bool turn_begin(struct pending *pending, const struct connecting *call);

/* It is time to look. Releases the slot, or hands it on. */
void turn_come(struct pending *pending);

/* The program is done with the descriptor. */
void turn_leave(struct pending *pending);

/* There may be a place free under that limit. The slot of who has waited longest is due. */
void turn_call_up(uint64_t key);

#endif
