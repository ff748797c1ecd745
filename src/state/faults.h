/* What is remembered of faults: which are armed, what each connection has met, and how often each has fired.
 *
 * Nothing here waits or holds a lock. What a connection needs of a fault is copied once for the process and stays, as rule
 * sets come and go. Two threads that use one direction of one connection at once are told apart by a claim: the second one
 * meets no fault in that call. */
#ifndef STATE_FAULTS_H
#define STATE_FAULTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/hidden.h"
#include "policy/fault.h"
#include "rules/faults.h"
#include "state/descriptors.h"
#include "state/segment.h"

#define FLOW_FAULTS_MAX 8u /* for one connection */
#define CALLERS_MAX     4u

/* A fault of this process. */
struct armed_fault {
    struct fault_params params;
    uint64_t hash; /* of all that it is */
    char name[64];
    char callers[CALLERS_MAX][48]; /* empty at the end */
    _Atomic uint64_t seen, fired;  /* how often it might have, and has */
    _Atomic uint64_t begun_ns;     /* when it was armed */
    struct fault_slot *slot;       /* NULL: there is no segment, or no room */
};

/* What happens to one connection, or one call that is not about any (a lookup, a socket that is made). */
struct flow {
    /* In lines of the processor's cache of its own: threads write to their connections' at every call. */
    _Alignas(64) _Atomic uint32_t quiet
        [FAULT_OPERATIONS]; /* so many of the next operations meet nothing, unless somebody switches faults */
    _Atomic uint32_t
        last; /* the last one that moved data, as enum fault_operation: another one begins an exchange */
    uint64_t target, connection; /* hash of it; the how-manieth to it, from 1 */
    uint64_t made_ns;
    uint32_t operations; /* mask of FAULT_ON: of its faults, taken together */
    uint32_t count;
    uint32_t is_counting; /* mask of FAULT_ON: what happens depends on the bytes that were moved */
    uint64_t steered;     /* segment.faults_steered when it was looked ahead */
    bool has_failed; /* the last attempt to connect has, by a fault: as if somebody far away had said so */
    bool is_told;    /* that something could not be carried out */
    bool is_message; /* what is moved are messages */
    /* Of a UDP socket that is not connected: which faults are for a datagram, its address says (drive/fault_peer.h). */
    bool is_unconnected;
    bool is_bound; /* the program has given it the port below; asked for once, before it has moved anything */
    bool is_bound_known;
    uint16_t local_port;
    uint8_t *copy; /* of what is sent with bits flipped: flow_copy */
    /* While nobody answers: what is to be put back (drive/park.h). */
    bool is_parked;
    int saved_hops;
    _Alignas(8) uint8_t parked_address[28]; /* AF_INET or AF_INET6 */
    struct flow_fault {
        struct armed_fault *fault;
        uint64_t key; /* fault_key */
        struct fault_memory memory[FAULT_OPERATIONS];
        _Atomic uint64_t bucket[2];                  /* received, sent */
        enum { UNDECIDED, FIRES, DOES_NOT } decided; /* where it is drawn once */
        bool has_told;
    } faults[FLOW_FAULTS_MAX];
    uint64_t connect_delay_ns; /* of an attempt that has begun, and is to be seen later (drive/shape.h) */
    struct flow_side {
        _Atomic uintptr_t claim; /* the thread in it; 0: none */
        uintptr_t frame;         /* where on its stack that call is; 0: not known. For that thread only */
        _Atomic bool was_twice; /* what comes next is the copy of a datagram that has been received already */
        uint64_t number;        /* of the next operation, or of the one after those that are quiet */
        uint64_t least;         /* no operation before this one comes any more */
        uint64_t bytes;
        /* What the next call is to be, where none may wait: drive/shape.c. */
        struct flow_planned {
            bool is_on;
            uintptr_t caller;
            uint64_t begun_ns; /* since when it could have been made; 0: it cannot yet */
            struct fault_plan plan;
            uint64_t break_ns, most, slice, gap_ns; /* the rest as in struct faulted (drive/faults.h) */
            uint32_t rates, breaks, corrupts, closes;
        } planned;
        /* Datagrams that have been received before the first one in the queue, and lie there still, behind it:
         * drive/reorder.c. */
        struct flow_overtaken {
            uint8_t passed, depth;
            uint64_t bytes; /* from the beginning of the queue to the next one that could overtake */
            uint64_t seen[FAULT_DEPTH_MAX]; /* what tells each of them from others */
        } overtaken;
    } sides[FAULT_OPERATIONS];
    /* Calls that are in it, and FLOW_ENDED: it is given back when the last one leaves. Outlives the flow. */
    _Atomic uint32_t users;
};
#define FLOW_ENDED (1u << 31)

/* Faults are armed, or may be by hand: sockets that are made or accepted are to be looked at. */
extern bool faults_are_possible HIDDEN;

/* A rule set with faults, declared functions' own among them, comes into force. */
void faults_found(const struct ruleset *set);

/* May any fault of the rule set fire now? */
bool faults_are_armed(const struct ruleset *rules);

/* May this one? */
bool fault_is_armed(const struct armed_fault *fault);

/* That of a declared function, which goes by the function's name. NULL without memory or room. */
struct armed_fault *fault_of_function(const char *name, const struct fault_params *params);

/* Is it the copy of these? */
bool fault_is_for(const struct armed_fault *fault, const struct fault_params *params);

/* It fires once more, unless its `times` are used up: false. */
bool fault_take_turn(struct armed_fault *fault);

/* All that are for the target and may happen to one of these operations (FAULT_ON); NULL: none, or no memory. The target is
 * NULL for a socket that is being made. `kin` tells connections of one target apart from other calls about it. */
struct flow *flow_begin(const struct ruleset *rules, const struct target *target, const char *text,
                        uint32_t operations);
/* All that may happen to datagrams of a UDP socket that is not connected. */
struct flow *flow_begin_unconnected(const struct ruleset *rules);
void flow_end(struct flow *flow); /* NULL is fine */

/* Room for so many bytes, for whoever has claimed the direction in which the flow sends; NULL without memory. */
#define FLOW_COPY_BYTES (64u << 10)
uint8_t *flow_copy(struct flow *flow);

/* This direction is the caller's, and the flow is not another connection's, until flow_release. False: another call is at
 * it, or the flow is not the entry's any more. The entry is NULL where the flow is the call's own. `frame` is in the caller's
 * frame: it tells a call that is still going on from one that a handler has jumped out of, which is over. */
bool flow_claim(struct flow *flow, enum fault_operation operation, const struct descriptor *entry,
                const void *frame);
void flow_release(struct flow *flow, enum fault_operation operation);

/* The flow of a guarded descriptor. flow_attach takes it over. */
struct flow *flow_of(const struct descriptor *entry);
bool flow_attach(struct descriptor *entry, struct flow *flow);
/* For whom the entry belongs to: one that is in the pool may be another connection's by then. */
void flow_detach(const struct descriptor *entry);

/* The flows of descriptors, by the numbers of their entries. */
extern struct flow *_Atomic *flows_attached HIDDEN;

/* How often somebody has switched faults by hand. */
extern const _Atomic uint64_t *faults_steered HIDDEN;

/* Is this operation, with nothing else to be cared for (`needs` are bits of descriptor.state), one of those that meet no fault?
 * Then it counts as made. Asked before every call, so it is here. */
static inline bool flow_is_quiet(const struct descriptor *entry, uint32_t needs,
                                 enum fault_operation operation)
{
    if ((atomic_load_explicit(&entry->state, memory_order_acquire) & needs) != FAULTY)
        return false;
    struct flow *flow = atomic_load_explicit(&flows_attached[entry->number], memory_order_acquire);
    if (!flow)
        return false;
    uint32_t quiet = atomic_load_explicit(&flow->quiet[operation], memory_order_relaxed);
    if (!quiet || flow->steered != atomic_load_explicit(faults_steered, memory_order_relaxed))
        return false;
    /* Two threads at once may count one operation for two: what they meet was not decided before either. */
    atomic_store_explicit(&flow->quiet[operation], quiet - 1, memory_order_relaxed);
    atomic_store_explicit(&flow->last, operation, memory_order_relaxed);
    return true;
}

/* Is what it does to be told, and not to be done? Of one that is armed. */
bool fault_is_shadow(const struct armed_fault *fault);

/* Counts that it has fired from there, or would have, and gives the place for the event: 0 = not known. */
uint32_t fault_count_site(struct armed_fault *fault, uintptr_t caller, bool is_shadow);

/* Is the call made by whom the fault is about? */
bool fault_is_from(const struct armed_fault *fault, uintptr_t caller);

/* The seed of this run. */
uint64_t faults_seed(void);

/* Which process of the run it is: the same each time. */
uint64_t faults_process(void);
void faults_before_fork(void);
void faults_forked(void);

/* What somebody has said about a fault: for good, or until a time (CLOCK_MONOTONIC). */
enum fault_steering { FAULT_AS_ARMED, FAULT_ON_BY_HAND, FAULT_OFF_BY_HAND };
uint64_t fault_steering_word(enum fault_steering steering, uint64_t until_ns);
enum fault_steering fault_steering_of(uint64_t word, uint64_t now_ns, uint64_t *until_ns);

/* The slot of that name, claimed if need be; NULL where there is no room. */
struct fault_slot *fault_slot_find(struct segment *segment, const char *name, uint64_t identity);

#endif
