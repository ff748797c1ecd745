/* The limits of this process: how many connections it has to each target, and how often it makes one.
 *
 * They are the process's own: a fork child begins with none. The connections that it inherits are its parent's, which
 * goes on counting them. A table of fixed size, made at its first use; lock-free and async-signal-safe. A vfork child
 * shares it: callers leave it alone there (process_owns_memory). */
#ifndef STATE_LIMITS_H
#define STATE_LIMITS_H

#include <stdatomic.h>

#include "policy/limit.h"

struct limit {
    _Atomic uint64_t key;        /* 0: free */
    _Atomic uint64_t places;     /* words of policy/limit.h */
    _Atomic uint64_t tokens;     /* likewise */
    _Atomic uint64_t changed_ns; /* when a call last came or went */
};

/* A limit and the key it had when it was found. */
struct limit_handle {
    struct limit *limit; /* NULL: no memory, or the table is full. Everything is admitted then */
    uint64_t key;
};

/* The limit of the target with that key (struct host_handle's), claimed if need be. */
struct limit_handle limits_find(uint64_t key, uint64_t now_ns);

/* The same for what has ended: never claims a place. */
struct limit_handle limits_known(uint64_t key);

/* May a call that began at `begun_ns` make a connection? First for a place: WAIT means ask again then. Before a REJECT
 * is believed the connections should be counted (limits_correct), once, and it asked again. */
struct limit_answer limits_enter(struct limit_handle handle, const struct limit_params *params,
                                 uint64_t begun_ns, uint64_t now_ns);

/* ... then for a token: WAIT means go ahead then. On REJECT the place is to be given back (limits_left). */
struct limit_answer limits_take(struct limit_handle handle, const struct limit_params *params,
                                uint64_t begun_ns, uint64_t now_ns);

/* What became of a call that has a place: a connection, which keeps it until it ends, or none. */
void limits_connected(struct limit_handle handle, uint64_t now_ns);
void limits_left(struct limit_handle handle, uint64_t now_ns);
void limits_ended(struct limit_handle handle, uint64_t now_ns);

/* Puts the number of living connections right: `before` is limits_places as it was read before they were counted. False
 * when one has come or gone meanwhile: what was counted is no longer true. No call takes longer than `longest_ns`. */
uint64_t limits_places(struct limit_handle handle);
bool limits_correct(struct limit_handle handle, uint64_t before, uint32_t live, uint64_t longest_ns,
                    uint64_t now_ns);

#endif
