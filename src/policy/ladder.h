/* Graceful degradation: what a program gets when a call has been rejected or has failed for good.
 *
 *     full -> a fallback host -> the last good answer of a lookup -> a canned answer, a default address -> the error
 *
 * A rule lists its rungs in the order in which they are tried; the error is always the last. Some rungs can serve a
 * connect, others a lookup. Nothing here makes a call, reads a clock or keeps anything. */
#ifndef POLICY_LADDER_H
#define POLICY_LADDER_H

#include <stdbool.h>
#include <stdint.h>

#define LADDER_RUNGS_MAX   8u
#define LADDER_CHOICES_MAX 8u /* hosts of one rung */

/* What a call has been served by. The numbers are kept in shared memory and told by include/resil.h. */
enum rung_kind {
    RUNG_FULL,      /* what was asked for */
    RUNG_HOST,      /* connect: a fallback host; lookup: where one is */
    RUNG_STALE,     /* lookup: the last good answer */
    RUNG_RESPOND,   /* connect: bytes of the rule's own */
    RUNG_ADDRESSES, /* lookup: addresses of the rule's own */
    RUNG_ERROR,     /* nothing could serve */
    RUNG_KINDS
};

struct ladder_shape {
    uint32_t count;
    struct {
        enum rung_kind kind;
        uint32_t choices; /* HOST: that many hosts, tried one after the other; else 1 */
    } rungs[LADDER_RUNGS_MAX];
};

enum ladder_side { LADDER_CONNECT, LADDER_LOOKUP };

/* Where a call stands: {0} is above the first rung. */
struct ladder_place {
    bool is_begun;
    bool is_second_pass; /* LADDER_LOOKUP */
    uint32_t rung, choice;
};

/* Goes on to what is to be tried next, and says what it is; RUNG_ERROR when there is nothing more, then and ever after.
 * For a lookup last good answers come first, wherever they stand: they lead to the host itself. */
enum rung_kind ladder_descend(const struct ladder_shape *shape, enum ladder_side side,
                              struct ladder_place *place);

/* Can any rung serve such a call? */
bool ladder_serves(const struct ladder_shape *shape, enum ladder_side side);

/* May a connect that failed with `error` be served otherwise? Not where it is the program's own doing or want: no
 * descriptor, no permission, interrupted, a bad address. */
bool ladder_is_for(int error);

const char *rung_name(enum rung_kind kind); /* "host" */

/* The last good answer of a lookup (RFC 8767). */
struct stale_params {
    uint64_t max_age_ns;   /* no older one is served */
    uint64_t after_ns;     /* a lookup that takes longer is answered with it */
    uint64_t ask_every_ns; /* after a lookup has failed the next real one is made this much later */
};

#define STALE_ASK_EVERY_NS 30000000000ull /* RFC 8767: failure recheck timer */

/* What is known of the name. */
struct stale_state {
    bool has_answer;
    uint64_t answered_ns; /* when the answer came */
    uint64_t failed_ns;   /* when the last real lookup failed, or was late; 0: it did not */
};

enum stale_verdict {
    STALE_ASK,      /* there is nothing to fall back to */
    STALE_ASK_LATE, /* ask, and serve the last good answer if that fails or takes longer than `after` */
    STALE_SERVE,    /* serve it at once: a lookup has failed a short while ago */
};
enum stale_verdict stale_decide(const struct stale_params *params, const struct stale_state *state,
                                uint64_t now_ns);

/* A name that is looked up beforehand: is that to be done again? Not while the last time is recent; one in the future was
 * written by who knows whom. */
bool stale_is_due(const struct stale_state *state, uint64_t now_ns);

#endif
