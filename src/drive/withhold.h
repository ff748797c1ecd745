/* Withholding readiness: a descriptor is ready, and no wait of the program is to show it yet, until a point in time or until
 * it is shown.
 *
 * The kernel knows nothing of it, so the waits must not ask: poll leaves the descriptor out of a copy of what it asks for,
 * select out of its sets, and an epoll's registration is changed once it has reported what it should not (and is put back
 * when that is over, which reports an edge anew). The program's waits end in time to show it: what is withheld is due in
 * state/pending.h as everything else is. Waits that we do not see show the truth.
 *
 * Calls that ask by themselves (receive, send, SO_ERROR) are answered by whoever withholds. */
#ifndef DRIVE_WITHHOLD_H
#define DRIVE_WITHHOLD_H

#include <poll.h>

#include "state/pending.h"

#define WITHHOLD_IN  1u                           /* what comes: data, the end, and any failure */
#define WITHHOLD_OUT 2u                           /* room to send */
#define WITHHOLD_ALL (WITHHOLD_IN | WITHHOLD_OUT) /* everything: it is not connected yet, say */

/* Does anybody withhold anything at all? */
static inline bool withhold_is_on(void)
{
    return atomic_load_explicit(&pending_head->withheld, memory_order_relaxed);
}

/* What is withheld of the descriptor, as the waits see it (POLL..., which are EPOLL... too). */
static inline unsigned withheld_of_slot(const struct pending *pending)
{
    unsigned in = POLLIN | POLLPRI | POLLRDNORM | POLLRDBAND | POLLRDHUP | POLLERR | POLLHUP;
    return (atomic_load_explicit(&pending->withheld_in_ns, memory_order_relaxed) ? in : 0) |
           (atomic_load_explicit(&pending->withheld_out_ns, memory_order_relaxed)
                ? POLLOUT | POLLWRNORM | POLLWRBAND
                : 0);
}
static inline unsigned withheld_of(const struct descriptor *entry)
{
    const struct pending *pending = withhold_is_on() ? pending_of(entry) : NULL;
    return pending ? withheld_of_slot(pending) : 0;
}

/* The slot of a connected descriptor, claimed; made if need be, and NULL without memory. Signals are blocked. */
struct pending *withhold_claim(struct descriptor *entry, int fd);

/* Withholds that (WITHHOLD_...) of the claimed slot's descriptor until then; NEVER: until it is shown. */
void withhold(struct pending *pending, unsigned what, uint64_t until_ns);

/* Shows it again, to waits that have begun already too. */
void withhold_show(struct pending *pending, unsigned what);

/* Shows what was withheld until now. Is there any? */
bool withhold_is_due(const struct pending *pending, uint64_t now_ns);
void withhold_show_due(struct pending *pending, uint64_t now_ns);

/* An epoll has reported `seen` of a descriptor of which some is withheld: sees to it that it does not do so again. */
enum withheld { WITHHELD, SHOWN_MEANWHILE, CANNOT_BE_WITHHELD };
enum withheld withhold_event(int epoll, int fd, struct descriptor *entry, const struct registration *found,
                             unsigned seen);

/* Is what the registration says now, to the program, what it has said? epoll_ctl while something may be withheld. */
int withhold_control(int epoll, int operation, int fd, struct epoll_event *event);

#endif
