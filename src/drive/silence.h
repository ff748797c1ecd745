/* Between two attempts a descriptor is kept silent, so that nobody sees that one has failed.
 *
 * The kernel does it where it can (drive/park.h), and then for everybody. Where it cannot (no loopback, a socket bound to a
 * device, UNIX sockets) it is not connected at all in between: what that shows is withheld from the program's waits
 * (drive/withhold.h), and those that we do not see show it (counted: not_parked). The slot is claimed. */
#ifndef DRIVE_SILENCE_H
#define DRIVE_SILENCE_H

#include "state/pending.h"

/* Takes the failed attempt back. False: it cannot be had, and the truth has to be shown. */
bool silence_begin(struct pending *pending);

/* Is it still silent, as far as the kernel has to see to it? */
bool silence_holds(const struct pending *pending);

/* The next attempt is about to begin, or the call is over. False: it cannot be connected. */
bool silence_end(struct pending *pending);

/* The attempt is in flight, or there is none any more: the program's waits see the descriptor again. */
void silence_is_over(struct pending *pending);

/* The program is done with the descriptor. To the kernel it is still connecting, where it was. */
void silence_leave(struct pending *pending);

#endif
