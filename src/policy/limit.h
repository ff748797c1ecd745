/* How many connections at once, and how often: a bulkhead and a rate limiter, as functions from one packed word to the
 * next.
 *
 * No atomics here: who keeps the words (state/limits.c) publishes the new one by compare-and-swap and asks again if it
 * lost. The word 0 is a limit that nobody has used, and any word is a good word. Ask the bulkhead first: a place can be
 * given back, a token cannot. */
#ifndef POLICY_LIMIT_H
#define POLICY_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

struct limit_params {
    uint32_t connections; /* at once, those under way included; 0 = as many as they like */
    uint32_t rate_per_s;  /* begun; 0 = as often as they like */
    uint64_t wait_ns;     /* how long a call may be kept waiting; 0 = not at all */
};

enum limit_verdict {
    LIMIT_ADMIT,
    LIMIT_WAIT, /* until `until_ns`; what then, the function says */
    LIMIT_REJECT,
};

struct limit_answer {
    uint64_t word; /* to be published; equal to the one given when nothing changed */
    enum limit_verdict verdict;
    uint64_t until_ns; /* for WAIT; for REJECT by the rate: when it is worth asking again, else 0 */
};

/* --- the bulkhead: connections that are being made, and those that live --- */

/* A call that began at `begun_ns` asks for a place. WAIT: ask again then, or when a connection has ended. */
struct limit_answer limit_enter(uint64_t word, const struct limit_params *params, uint64_t begun_ns,
                                uint64_t now_ns);

/* What became of a call that was admitted: its connection lives, or there is none and the place is free. */
uint64_t limit_connected(uint64_t word);
uint64_t limit_left(uint64_t word);

/* A connection that lived has ended. */
uint64_t limit_ended(uint64_t word);

/* The connections were counted and `live` were found: ends can be missed. Calls that are under way are not connections
 * yet and keep their places, unless `is_quiet`: for longer than a call can take nothing has changed, so that those that
 * seem to be under way never came back (a siglongjmp out of connect). */
uint64_t limit_corrected(uint64_t word, uint32_t live, bool is_quiet);

/* For people and tests. */
struct limit_view {
    uint32_t pending, live;
};
struct limit_view limit_view(uint64_t word);

/* --- the rate limiter: a bucket that holds the tokens of one second and begins full --- */

/* A call that began at `begun_ns` takes a token. WAIT: it has taken one that is not there yet; go ahead then, without
 * asking again. So those who wait go in the order in which they asked, and nobody goes in a herd. */
struct limit_answer limit_take(uint64_t word, const struct limit_params *params, uint64_t begun_ns,
                               uint64_t now_ns);

#endif
