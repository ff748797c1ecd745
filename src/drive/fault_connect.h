/* Faults on connects: what happens to an attempt, and to the connection that comes of it. */
#ifndef DRIVE_FAULT_CONNECT_H
#define DRIVE_FAULT_CONNECT_H

#include <signal.h>

#include "drive/attempt.h"
#include "state/faults.h"

/* What may happen to a call whose target is known: sets call->flow, to NULL where that is nothing. */
void fault_flow(struct connecting *call, uintptr_t caller);

/* The call, once it is made: the descriptor gets its flow, if it is to be connected. errno is untouched. */
void fault_connected(struct connecting *call, int result);

/* The real connect, or what a fault makes of it; for calls that no rule is for, or none that does more than to make them.
 * Returns as connect does. */
int fault_connect(struct connecting *call);

/* One attempt of a call that may wait. False: nothing happens to it. `mask` as in unix_attempt. */
bool fault_attempt(struct connecting *call, uint64_t until_ns, const sigset_t *mask, struct attempt *attempt);

/* One attempt on a descriptor that does not block. False: nothing happens to it. `text` is its target, for events, where
 * there is no entry that knows. */
bool fault_at_once(struct flow *flow, const struct descriptor *entry, const char *text, int fd,
                   const struct sockaddr *address, uintptr_t caller, int *result);

/* Does its attempt, which nobody waits for in a call, get no answer because of a fault? */
bool fault_is_silent(const struct descriptor *entry);

/* The descriptor is about to go, or to be connected anew. */
void fault_let_go(int fd, const struct descriptor *entry);

#endif
