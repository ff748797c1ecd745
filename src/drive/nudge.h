/* Threads that are asleep in a wait do not know of what another thread begins meanwhile.
 *
 * Who begins it tells them: a connect gets a timeout that the kernel keeps, and a descriptor whose answer is awaited is made
 * to wake the epolls that it is registered with. A thread that wakes up then cuts its next wait short by itself. */
#ifndef DRIVE_NUDGE_H
#define DRIVE_NUDGE_H

#include <stdbool.h>

#include "state/pending.h"
#include "state/registrations.h"

/* An attempt begins: among threads, of which any may be asleep, the kernel is to time it too, as well as it can (from about
 * a second on). And has ended: the option is the program's again. The slot is not seen by others yet, or claimed. */
void nudge_attempt_begins(struct pending *pending);
void nudge_attempt_ended(struct pending *pending);

/* It is parked without having been in flight, so nothing but the kernel would wake who sleeps: it does after about a second,
 * by ending the silence, and whoever sees that knows what is due. nudge_attempt_ended takes it back. */
void nudge_parked(struct pending *pending);

/* Something has come to be due before everything else was, and is armed already, so that whoever falls asleep from now on
 * knows of it: wakes who waits for the descriptor. */
void nudge_waiter(struct pending *pending, int fd);

/* There is something to be shown of the descriptor that the kernel does not know of: the epolls that it is registered with
 * report it. */
void nudge_overdue(struct pending *pending, int fd);

/* Nobody will be shown it any more: the slot is claimed and about to end while its socket lives on. */
void nudge_over(struct pending *pending);

/* May a registration with that epoll ask for more than the program did? */
bool nudge_is_in(const struct pending *pending, int epoll);

/* An epoll has reported `events` (EPOLL...) for a descriptor that is nudged in it. Puts the registration right; what of the
 * events the program has asked for. */
unsigned nudge_seen(struct pending *pending, int epoll, int fd, const struct registration *registration,
                    unsigned events);

#endif
