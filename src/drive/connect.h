/* connect() under a rule: finds the target and its rule, asks the breaker, and lets the right driver make the call. */
#ifndef DRIVE_CONNECT_H
#define DRIVE_CONNECT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "drive/tell.h"
#include "rules/rules.h"
#include "state/breakers.h"
#include "state/descent.h"
#include "state/descriptors.h"
#include "state/limits.h"
#include "state/names.h"

struct flow;

/* One connect call under a rule. */
struct connecting {
    int fd;
    const struct sockaddr *address;
    socklen_t length;
    const struct ruleset *rules; /* in force while the call lasts */
    const struct rule *rule;
    struct target target;
    char name[NAME_MAX_BYTES]; /* target.name points here */
    char text[52];             /* the target, for events: connect_text */
    struct host_handle host;
    struct breaker_ticket ticket;
    enum breaker_verdict verdict;
    uint64_t seed;
    uint64_t begun_ns;
    uint64_t started_ns;       /* when its first attempt may begin: it may have waited for its turn */
    struct limit_handle limit; /* valid if has_place */
    bool has_place;            /* among the connections that its target may have */
    uint64_t
        turn_ns; /* it does not block, and waits for its turn at least until then (drive/turn.h); 0: it need not */
    bool has_token; /* ... and goes ahead then */
    bool is_shadow; /* what is decided is recorded, not carried out */
    bool is_blocking;
    bool is_in_flight; /* already: an earlier call has begun it */
    enum socket_kind kind;
    unsigned note;           /* what was noted of the descriptor when it began to connect ... */
    uint64_t cookie;         /* ... and what the socket is known by; 0 = not asked yet */
    bool is_fresh;           /* blocking and without timeouts of its own, as far as we know */
    bool is_led;             /* to a fallback host already, by its lookup */
    bool is_limited;         /* it was rejected by a limit */
    bool is_exhausted;       /* it was rejected, or has failed in a way that a ladder is for */
    int error_before;        /* errno when the program made the call */
    bool is_falling;         /* it is made to a fallback host */
    uint64_t own_send_ns;    /* the program's own SO_SNDTIMEO ... */
    uint64_t send_option_ns; /* ... and what we have set it to meanwhile */
    struct flow *flow;       /* what faults may happen to it (drive/fault_connect.h); NULL: none */
    uintptr_t caller;        /* where the program makes the call; known where there is a flow */
    /* What an attempt is made to, `address` or a sibling of it: siblings_choose. */
    const struct sockaddr *tried;
    socklen_t tried_length;
    struct address tried_address;
    union descent_address sibling;
    union descent_address fallback; /* what `address` points to, down the ladder */
};

/* Do its exchanges count, once it is connected? Where they do, connecting says little; with UDP, nothing. */
static inline bool connect_has_exchanges(const struct connecting *call)
{
    const struct policy *policy = &call->rule->policy;
    return policy->timeout.response_ns || (call->kind == SOCKET_UDP && policy->breaker.is_on);
}

/* Address and port of an AF_INET or AF_INET6 address; false for others. The name is left alone. */
bool target_of_sockaddr(const struct sockaddr *address, socklen_t length, struct target *target);

/* `caller` is where in the program the call is made. */
int drive_connect(int fd, const struct sockaddr *address, socklen_t length, uintptr_t caller);

/* The same for a send that makes its connection itself (MSG_FASTOPEN): the connection is made first, and what is to be sent
 * waits for it, as what goes with a SYN could not be sent again. CONNECT_NOT_MADE: no rule and no fault is for it, or it may
 * not wait (MSG_DONTWAIT) on a descriptor that does. */
#define CONNECT_NOT_MADE (-2)
int drive_connect_for_send(int fd, const struct sockaddr *address, socklen_t length, bool may_wait,
                           uintptr_t caller);

/* Fills in call->text, once it is clear that it will be needed. */
void connect_text(struct connecting *call);

/* May the call go ahead? First its limits, for which it may wait, then the breaker, which may make it the probe. False: it
 * has been rejected and told, and errno is what the program gets. True with a turn_ns: not yet, and the breaker is not asked. */
bool connect_admit(struct connecting *call);

/* Tells of rejected calls, the last of them among `count`; the next probe comes then. `error` 0: it may be served otherwise. */
void connect_tell_rejected(struct host_handle host, const char *target, int error, uint64_t until_ns,
                           uint32_t count);

/* Carries the admitted call out, waiting inside it. Returns as connect does. */
int blocking_connect(struct connecting *call);

/* Decides and records as if it were enforced, and changes nothing. */
int shadow_connect(struct connecting *call);

/* Tells the breaker what became of an admitted call, and tells of the change that this makes. `error` is what calls get while
 * it is open, or CONNECT_LADDER: they are served otherwise. */
#define CONNECT_LADDER (-1)
void connect_report(struct host_handle host, const char *target, const struct breaker_params *params,
                    int error, struct breaker_ticket ticket, enum breaker_report report, uint64_t seed,
                    bool is_shadow);

#endif
