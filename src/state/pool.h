/* Where the entries of descriptors come from: pages of them, taken from the lowest that has room, so that those at the end
 * become empty once there are fewer connections, and are given back to the system.
 *
 * Another thread may still hold a pointer into such a page: it stays readable, and reads as zeros. Lock-free and
 * async-signal-safe. */
#ifndef STATE_POOL_H
#define STATE_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "state/descriptors.h"

#define POOL_ENTRIES_MAX (1u << 20)

/* Makes room for the bookkeeping; false without memory. */
bool pool_open(void);

/* An entry nobody has, of undefined content but for its number; NULL without memory. */
struct descriptor *pool_take(void);
void pool_give(struct descriptor *entry);

/* Empty memory that was never used; NULL if there is none. Only the pages that are touched cost anything. */
void *map_zeroed(size_t size);

#endif
