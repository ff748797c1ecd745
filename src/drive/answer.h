/* Answers of lookups: what addresses they have, and answers of our own making. */
#ifndef DRIVE_ANSWER_H
#define DRIVE_ANSWER_H

#include "drive/lookup.h"
#include "rules/address.h"

/* The different addresses of an answered lookup, in their order. Gives how many; at most so many. */
unsigned answer_addresses(const struct lookup *lookup, struct address *addresses, unsigned most);

/* Answers the lookup with these addresses, as libc would if a name server had given them: what the program gets it frees
 * as ever. False: none of them is of the kind that it asked for. */
bool answer_make(struct lookup *lookup, const char *name, const struct address *addresses, unsigned count);

#endif
