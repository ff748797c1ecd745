/* Signals while one wait of the program becomes several of ours.
 *
 * They are blocked outside our waits, and each wait (ppoll) lets them in under the program's own mask: none can slip
 * in between two waits and be forgotten. */
#ifndef DRIVE_SIGNALS_H
#define DRIVE_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

void signals_block(sigset_t *before);
void signals_restore(const sigset_t *before);

/* After EINTR: would the kernel have restarted the call? It would if every installed handler has SA_RESTART; setting a
 * timeout on a socket takes that away, so who set it has to do the restarting. */
bool signals_all_restart(void);

/* May a signal that is not blocked there have ended a wait for several descriptors? By any handler: the kernel never restarts
 * these. */
bool signals_can_interrupt(const sigset_t *blocked);

/* WAITED_ERROR: an error is reported and nothing else. A call may take it, or it lies in the error queue, where the
 * program wants to read it, and stays: waiting for it again would not be waiting. */
enum waited { WAITED_READY, WAITED_OUT, WAITED_INTERRUPTED, WAITED_ERROR };

/* Waits until `events` (POLLIN, POLLOUT) hold on `fd` or until `until_ns`; fd -1 just waits. Signals that restart are
 * handled and waited on over; one that does not ends it. Signals are blocked; `mask` is the program's. */
enum waited signals_wait(int fd, short events, uint64_t until_ns, const sigset_t *mask);

#endif
