/* UNIX sockets: what rules see of their addresses, and what is different about connecting them. */
#ifndef DRIVE_UNIX_H
#define DRIVE_UNIX_H

#include <signal.h>

#include "drive/attempt.h"

/* The path as rules see it: an abstract one begins with @, a relative one is made absolute. False: the address has none
 * (the kernel will not connect to it). The address is readable. errno is untouched. */
bool unix_path(const struct sockaddr *address, socklen_t length, char path[NAME_MAX_BYTES]);

/* One attempt. There is nothing in flight that could be waited for: with the server's queue full, connect itself waits,
 * with the signals of `mask` (NULL: all that are not blocked now) let in. */
struct attempt unix_attempt(struct connecting *call, uint64_t until_ns, const sigset_t *mask);

#endif
