/* Down the ladder of a rule (policy/ladder.h): what a program gets instead of a connection that was rejected or has
 * failed for good. The descriptor stays the program's own: it is connected to a fallback host, or to a stand-in
 * (drive/stand_in.h). */
#ifndef DRIVE_DEGRADE_H
#define DRIVE_DEGRADE_H

#include "drive/connect.h"
#include "state/descent.h"
#include "state/pending.h"

/* Is the ladder of its rule for that call? TCP only, and nothing that is in flight already. */
static inline bool degrade_is_for(const struct connecting *call)
{
    return __builtin_expect(call->rule->policy.ladder != NULL, 0) && !call->is_shadow &&
           call->kind == SOCKET_TCP && !call->is_in_flight;
}

/* Do new connections stay with a fallback host for a while yet, though the circuit is closed? Then errno is what they get
 * if that cannot serve them any more. */
bool degrade_sticks(const struct connecting *call);

/* Did its lookup get a fallback host's address, as there was no other? Then errno is as for degrade_sticks. */
bool degrade_is_led(struct connecting *call);

/* The call was rejected, before anything was begun, or has failed for good; errno is what the program would get. Returns
 * as connect does. */
int degrade_connect(struct connecting *call);

/* A call of a program that does not block: where it stands, for when it fails. */
void degrade_begin(struct descent *descent, const struct connecting *call);

/* It has failed with `error`, or was rejected: points it at what is to be tried next, and gives the step that begins that.
 * False: there is nothing. `is_served`: it is connected now, to a stand-in. */
bool degrade_next(struct pending *pending, int error, struct call_step *step, bool *is_served);

/* A call under a rule with a ladder got what it asked for. */
void degrade_not(const struct kept_ladder *kept, struct host_handle host);

/* The delay before a stand-in is over: the step that follows. */
struct call_step degrade_waited(struct pending *pending);

/* It has connected: notes who serves it. */
void degrade_succeeded(struct pending *pending);

#endif
