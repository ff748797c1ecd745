/* The "already retried" credits of this process (policy/credit.h). Targets are told by their key (struct host_handle's).
 * A small table of words: one that is full forgets the credits that would have ended first. A fork child begins with a
 * copy of its parent's, which soon end. Lock-free and async-signal-safe. */
#ifndef STATE_CREDITS_H
#define STATE_CREDITS_H

#include "policy/credit.h"

/* A call to the target with that key begins: true for a single attempt, which uses a credit up. */
bool credits_use(uint64_t key, uint64_t now_ns);

/* A call has ended, of whose target so many addresses are known. Leaves what it has earned for its `total`. */
void credits_leave(uint64_t key, const struct call *call, uint32_t addresses, uint64_t now_ns);

#endif
