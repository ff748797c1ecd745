/* The limits of a rule: how many connections this process has to a target at once, and how often it makes one. */
#ifndef DRIVE_THROTTLE_H
#define DRIVE_THROTTLE_H

#include "drive/connect.h"
#include "state/descriptors.h"

/* Takes a place and a token for the call, waiting for them if the rule says so and the descriptor blocks. False: the limit
 * is reached; that has been told, and errno is what the program gets. In shadow it never waits, and errno is untouched. */
bool throttle_admit(struct connecting *call);

/* There is no connection after all: gives the place back. */
void throttle_leave(struct connecting *call);

/* There is one: `entry`, which leads to it, keeps the place until it goes away. */
void throttle_connected(struct connecting *call, struct descriptor *entry);
void throttle_ended(const struct descriptor *entry);

/* There is none after all, though the entry has a place already. */
void throttle_failed(struct descriptor *entry);

/* The call has ended, and what becomes of the connection will be seen only when the descriptor goes away: a connection that
 * is being made has a place like any other. */
void throttle_keep(struct connecting *call);

/* Is this another connect call for a connection that has its place already? Programs ask so how a non-blocking one went. */
bool throttle_is_known(int fd);

#endif
