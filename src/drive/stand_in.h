/* A stand-in: the program's own socket, connected to ourselves, that says what a rule has told it to say.
 *
 * The number, the options and the registrations of the descriptor survive, and everything that the program asks of it
 * (peeking, waiting, how much there is to read) the kernel answers. What is sent is swallowed: nobody would read it, and a
 * closed peer would break the connection off. A stand-in that speaks at once leaves nothing behind; one that waits for
 * requests keeps its end, high up and closed on exec, as long as the connection lasts. */
#ifndef DRIVE_STAND_IN_H
#define DRIVE_STAND_IN_H

#include "drive/transfer.h"
#include "report/event.h"
#include "rules/rules.h"
#include "state/degraded.h"
#include "state/descent.h"

/* The other end, once it is connected. */
struct stand_in {
    int end; /* -1: it has said all, and is closed */
    uint64_t cookie;
};

/* Connects the descriptor to one, in the form that its family needs (that of `like`). False: `why` not, and the descriptor
 * is as if it had never been connected. Signals are blocked. */
bool stand_in_connect(int fd, const struct sockaddr *like, const struct rung *rung, struct stand_in *made,
                      enum skipped_reason *why);

/* Notes it, of a call that has come down to it: what is sent and received from now on comes to the functions below. */
void stand_in_begin(struct degraded *record, const struct stand_in *made, const struct descent *descent);

/* Is that what the entry leads to? NULL: no. */
struct degraded *stand_in_of(const struct descriptor *entry);

/* Sending and receiving. Return as the call does; errno was `error` before it. */
ssize_t stand_in_send(struct degraded *record, const struct transfer *transfer, int error);
ssize_t stand_in_receive(struct degraded *record, const struct transfer *transfer, int error);

/* The program has no more to send: whoever waits for requests hangs up. */
void stand_in_shut(const struct descriptor *entry, int how);

/* Lets go of what a record held. */
void stand_in_let_go(struct degraded *record);

/* The last number that leads to the entry is about to go away. */
void stand_in_ended(const struct descriptor *entry);

#endif
