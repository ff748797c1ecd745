/* The readiness driver: connect calls of programs that do not block.
 *
 * The program's connect says "in progress" and returns. What becomes of the attempt is found out where the program
 * looks: in its waits, or when it asks (SO_ERROR, a second connect, the first send or receive, close). An attempt that
 * fails and is to be retried is hidden: the descriptor is parked (drive/park.h) until the next attempt is due, and the
 * program's own waits carry that out. Nothing here ever waits.
 *
 * Callers have blocked signals where it says so, and are not in a vfork child (process_owns_memory). */
#ifndef DRIVE_READINESS_H
#define DRIVE_READINESS_H

#include "drive/connect.h"
#include "state/descriptors.h"

/* Carries out an admitted call on a descriptor that does not block. Returns as connect does. */
int readiness_connect(struct connecting *call);

/* The same for one that has to wait for its turn under a limit. */
int readiness_queue(struct connecting *call);

/* The call is not to be made, as it was rejected with errno: goes down the ladder of its rule. Returns as connect does. */
int readiness_degrade(struct connecting *call);

/* The program connects a descriptor again that is CONNECTING or has its error due. False: there is nothing to say to
 * that, make the call as usual. */
bool readiness_connect_again(int fd, struct descriptor *entry, const struct sockaddr *address,
                             socklen_t length, int *result);

/* The program sends, receives or asks: find out what has become of a CONNECTING descriptor. True: it still is, and we see
 * to it. */
bool readiness_look(int fd, struct descriptor *entry);

/* Is the error of the failed connect due? Then it is, once, what the program gets. */
bool readiness_take_error(struct descriptor *entry, int *error);

/* For SO_ERROR: 0, or what the program is to read. False: the kernel knows. */
bool readiness_so_error(int fd, struct descriptor *entry, int *error);

/* The program shuts the descriptor down, or disconnects it. */
void readiness_give_up(int fd, struct descriptor *entry);

/* The program closes the descriptor: it does not want to know what would have become of it. */
void readiness_abandon(int fd, struct descriptor *entry);

/* The program closes one of several numbers of the descriptor: drops it, and nobody acts through it any more. False: it is
 * the only one. */
bool readiness_leave(int fd, struct descriptor *entry);

/* Another program is about to inherit the descriptor, by exec: what it gets is an attempt in flight, and nobody who would
 * carry on. */
void readiness_hand_over(int fd, struct descriptor *entry);

/* Carries out everything that is due, for that wait or (NULL) for a call. Signals are blocked. */
struct waiter;
void readiness_run(uint64_t now_ns, const struct waiter *waiter);

/* Is there an answer that others have left to that wait? Then it is due. */
bool readiness_is_left_to(const struct waiter *waiter);

/* A wait has found `seen` (POLL...) for this descriptor. What the program may see of it; 0 = nothing. Signals are
 * blocked. */
unsigned readiness_sift(int fd, struct descriptor *entry, unsigned seen, unsigned asked);

/* A wait of the only thread has found that the attempt of a CONNECTING descriptor is over, and no failure: the common end. False:
 * it is not as simple. Signals are blocked. */
bool readiness_is_up(int fd, struct descriptor *entry);

#endif
