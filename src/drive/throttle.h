/* The limits of a rule: how many connections this process has to a target at once, and how often it makes one. */
#ifndef DRIVE_THROTTLE_H
#define DRIVE_THROTTLE_H

#include "drive/connect.h"
#include "state/descriptors.h"

/* Takes a place and a token for the call, waiting for them if the rule says so; one that does not block gets a turn_ns
 * instead. False: the limit is reached; that has been told, and errno is what the program gets. In shadow it never waits, and
 * errno is untouched. */
bool throttle_admit(struct connecting *call);

/* It was to wait for its turn and cannot: the limit is reached. Tells that and sets errno. */
void throttle_reject(struct connecting *call);

/* The limit itself; no call waits longer than its `total`. */
struct limit_params throttle_params(const struct policy *policy);

/* Whose limit it is, for what is told of it. */
struct limited {
    struct host_handle host;
    const char *target; /* its text */
    const char *rule;
    struct limit_params params;
    int error; /* of a rejected call; 0: it may be served otherwise */
    bool is_shadow;
};
/* Counts and tells that a call was rejected, or went ahead, after that time. */
void throttle_tell_rejected(const struct limited *limited, enum event_kind kind, enum sample_kind sample,
                            uint64_t waited_ns);
void throttle_tell_wait(const struct limited *limited, bool is_for_rate, uint64_t waited_ns);

/* Puts the number of connections right: their ends can be missed. No call takes longer than `longest_ns`. */
void throttle_recount(struct limit_handle limit, uint64_t longest_ns);

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
