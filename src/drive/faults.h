/* What faults make of one operation, for whoever carries it out: a call that waits (fault_connect.c, fault_transfer.c), or
 * a wait of the program that withholds what is not to be seen yet.
 *
 *     struct faulted faulted = {.may_wait = ..., .text = ...};
 *     if (faults_begin(&faulted, flow, FAULT_RECV, caller, entry))     something may happen to this operation
 *         faulted.plan says how it ends, and fault_plan_due_ns from when on: FAULT_NEVER for a black hole
 *         faults_room(&faulted, now) how many bytes it may move now; where that is 0, faulted.due_ns says when to ask again
 *         faults_moved(&faulted, bytes, now) so many were moved
 *         faults_end(&faulted)
 *
 * An operation is planned once, when the call is made, or when there would be something to show. Room may be asked for and
 * bytes moved as often as it takes. Until faults_end no other thread meets faults in that direction of the connection. */
#ifndef DRIVE_FAULTS_H
#define DRIVE_FAULTS_H

#include <sys/uio.h>

#include "policy/fault.h"
#include "state/faults.h"

struct faulted {
    struct flow *flow;
    const struct descriptor *entry;
    enum fault_operation operation;
    uintptr_t caller; /* where the program made the call; 0 = not known */
    const char *text; /* the target, for events; NULL: that of the entry */
    uint64_t without; /* mask of the flow's faults that are not for this datagram: drive/fault_peer.h */
    bool is_first;    /* of its exchange */
    bool may_hang;    /* may it never be answered, without anybody waiting in the call? */
    bool may_wait;    /* may it be late? Else faults that take time do not happen, and that is counted */
    struct fault_plan
        plan; /* begun_ns: 0 until the clock was needed; what is received is late from when it has come */
    uint64_t due_ns;   /* when to ask for room again */
    uint64_t break_ns; /* when the connection is to be reset, if that comes first; FAULT_NEVER */
    uint64_t most;     /* bytes until something happens; UINT64_MAX */
    uint64_t slice;    /* bytes that are moved at a time, UINT64_MAX, with a pause behind them: */
    uint64_t gap_ns;
    uint32_t rates;    /* mask of the flow's faults that have a bucket for it */
    uint32_t corrupts; /* ... and of those that change its bytes */
    uint32_t closes;   /* the one that makes the end of the connection late + 1; 0 = none */
    uint32_t breaks;   /* the fault that break_ns is of */
};

/* False: nothing happens to it, make it as it is. Then nothing else need be said. */
bool faults_begin(struct faulted *faulted, struct flow *flow, enum fault_operation operation,
                  uintptr_t caller, const struct descriptor *entry);

/* How many bytes the operation may move now; sets due_ns where that is none. */
uint64_t faults_room(struct faulted *faulted, uint64_t now_ns);

void faults_moved(struct faulted *faulted, uint64_t bytes, uint64_t now_ns);
void faults_end(struct faulted *faulted);

/* break_ns has come: to be told. */
void faults_broken(struct faulted *faulted);

/* The end of the connection has come: how much later it is to be seen, which is told. 0 = at once. */
uint64_t faults_close_delay_ns(struct faulted *faulted);

/* So many bytes were received, and are changed where they lie. Before faults_moved. */
void faults_corrupt(struct faulted *faulted, const struct iovec *parts, size_t count, size_t bytes);

#endif
