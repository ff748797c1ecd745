/* Deadlines of connections that event loops wait on: the first byte of an answer, and room to send.
 *
 * An answer is due so long after the last send that was accepted; the time stands still while bytes of the request are
 * unsent, and the first byte that comes ends it, so that neither an idle connection nor a long upload is ever cut off.
 * Room is due so long after a send was refused. What is cut off gets ETIMEDOUT once, then the end of the file. */
#ifndef DRIVE_DEADLINE_H
#define DRIVE_DEADLINE_H

#include "state/pending.h"

/* What this program does with its waits: who never waits for several descriptors (0) needs no deadline outside its calls. */
#define WAITS_SEEN      1u /* from now on what is sent is timed */
#define WAITS_CAUGHT_UP 2u /* and so is what was sent before */
extern uint32_t waits_seen HIDDEN;

/* Who carries out what is due: a wait of the program, or (NULL) a call about one descriptor. */
struct waiter {
    bool (*has)(const struct waiter *waiter, int fd); /* is it about this descriptor too? */
};

/* The program waits for the first time: requests that were sent before are timed from now on. */
void deadline_catch_up(void);

/* A request, or some more of it, has been accepted: its answer is awaited. */
void deadline_answer(struct descriptor *entry, int fd, uint64_t now_ns);

/* A send was refused: room is awaited. And a send that was accepted ends that. */
void deadline_room(struct descriptor *entry, int fd);
void deadline_sent(struct descriptor *entry);

/* The answer has begun, or never will. */
void deadline_over(struct descriptor *entry);

/* What a wait is to show of a descriptor whose answer did not come, though the kernel does not (POLL...); 0: it is no such
 * one. Where pending_shows_overdue. */
unsigned deadline_overdue(int fd, unsigned asked);

/* Its slot, where the connection is there; one is made where it has none, and is not due. NULL without memory. */
struct pending *deadline_slot(struct descriptor *entry, int fd);

/* When it is due. The slot may be armed for an earlier time, and is then armed anew: that costs less than to arm it for each
 * answer. */
uint64_t deadline_of(const struct pending *pending);

/* Gives a claimed slot back, to be due then. */
void deadline_release(struct pending *pending);

/* The claimed slot is due. Gives it back. */
void deadline_due(struct pending *pending, const struct waiter *waiter);

#endif
