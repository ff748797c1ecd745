/* Lookups on a thread of their own, for times that the resolver's settings cannot express: `resolve: 300ms`, or name
 * service modules that keep their own. The program's thread waits and goes on at the deadline; the helper ends when the
 * lookup does, and frees an answer that nobody waits for. It exists only for the one lookup: each later system call of a
 * single-threaded program would be dearer, and namespaces and sandboxes refuse programs that have threads. */
#ifndef DRIVE_LOOKUP_THREAD_H
#define DRIVE_LOOKUP_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "drive/lookup.h"

/* Makes the lookup, answering EAI_AGAIN from `until_ns` on. False: it was not made and is to be made directly, as there
 * are eight on their way, no thread can be had, or it is none that another thread could make. */
bool lookup_in_thread(struct lookup *lookup, uint64_t until_ns, int *eai);

#endif
