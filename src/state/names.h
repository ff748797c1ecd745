/* Which name an address was looked up by. connect() sees an address only; rules speak of names.
 *
 * A fixed table of this process, guarded by sequence locks: readers never wait, and a reader that cannot get a stable
 * copy in three tries says "unknown". An address may have several names; the one that the calling thread looked up last
 * wins, else the latest that it looked up at all, else the most recent of all threads'. */
#ifndef STATE_NAMES_H
#define STATE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "rules/address.h"

#define NAME_MAX_BYTES 256 /* RFC 1035: 253 and the terminating zero */

/* Remembers that `name` (any case, a dot at the end is dropped) led to that address. */
void names_remember(const char *name, const struct address *address);

/* Copies the name; false when there is none. */
bool names_find(const struct address *address, char name[NAME_MAX_BYTES]);

/* The other names that led to that address, where it is in doubt which of them is meant: this thread has looked up none
 * of them. Returns how many; 0 also where there is no doubt. */
#define NAMES_MAX 3u
unsigned names_others(const struct address *address, const char *name,
                      char others[NAMES_MAX][NAME_MAX_BYTES]);

/* Says which of several names this thread means from now on; names_remember does not. */
void names_looked_up(const char *name);

/* Remembers a whole answer: the different addresses, in its order; ANSWER_MAX of each family are kept. */
#define ANSWER_MAX 16u
void names_answered(const char *name, const struct address *addresses, unsigned count);

/* The other addresses of the family of `own` that this program's last lookup of `name` (in its normal form, as
 * names_find gives it) led to, in the order of the answer; v4-mapped is IPv4. Returns how many; 0 also where no stable
 * copy could be had in three tries. May be called in signal handlers. */
unsigned names_siblings(const char *name, const struct address *own, struct address *siblings, unsigned most);

/* All the addresses of that answer, `own` among them: of both families if one lookup gave both. 0: `own` is not of it, or
 * no stable copy could be had. */
unsigned names_addresses(const char *name, const struct address *own,
                         struct address addresses[2 * ANSWER_MAX]);

/* Lower case, without a dot at the end. False when it is too long to be a name. */
bool name_normalize(const char *name, char normal[NAME_MAX_BYTES]);

#endif
