/* An attempt in flight: what becomes of it, and what is done then, by drive/readiness.h.
 *
 * The slot is claimed and signals are blocked. Who hands it to one of these does not have it any more. */
#ifndef DRIVE_FLIGHT_H
#define DRIVE_FLIGHT_H

#include "report/event.h"
#include "state/pending.h"

/* The attempt has ended: `seen` (POLL...) is not nothing. */
void flight_settle(struct pending *pending, unsigned seen);

/* The same where it is known how. */
void flight_judge(struct pending *pending, enum outcome outcome, int error);

/* Does what the policy says, until there is something to wait for. */
void flight_carry_on(struct pending *pending, struct call_step step);

/* The slot's last attempt, begun now where none is in flight, while that cannot wait: no other follows. Releases or ends
 * the slot. */
void flight_begin_last(struct pending *pending);

/* The queue of a UNIX socket's server is full: a program that does not block is told so at once, and one that blocks waits for
 * room. Waits for it, unless the attempt has no end. False: it has none. */
bool flight_queue(struct pending *pending);

/* It is time to try again, or to give up. */
void flight_queue_again(struct pending *pending);

/* The call is over. */
void flight_succeed(struct pending *pending);
void flight_fail(struct pending *pending, const struct call_step *step);

/* What the attempt is made to, perhaps in `other`. Port, scope and whatever else the address says stay the program's. */
union flight_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};
struct sockaddr *flight_address(struct pending *pending, union flight_address *other);

/* The call is not to be made: its limit or its circuit says so, which has been told. The slot is PARKED. Down the ladder where
 * there is one for that. */
void flight_reject(struct pending *pending, int error);

int flight_take_so_error(int fd);

/* Was a SYN sent at all? A host without a route fails before, and at once. The kernel has forgotten what it sent; what a
 * router said of it lies in the error queue. */
bool flight_has_left(const struct pending *pending);

/* Tells the breaker, once. */
void flight_report(struct pending *pending, enum breaker_report what, int error);

/* Records an event about it: any, that the call has failed, that the next address is tried at once, or what would come next
 * if the rule were enforced. */
void flight_tell(struct pending *pending, enum event_kind kind, int error, uint64_t duration_ns,
                 uint64_t delay_ns);
void flight_tell_failure(struct pending *pending, const struct call_step *step, uint64_t now_ns);
void flight_tell_sibling(struct pending *pending, uint64_t now_ns);
void flight_tell_what_would_follow(struct pending *pending, enum outcome outcome, int error);

#endif
