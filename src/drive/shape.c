#include "drive/shape.h"

#include <errno.h>

#include "base/clock.h"
#include "drive/deadline.h"
#include "drive/nudge.h"
#include "drive/perform.h"
#include "drive/raw.h"
#include "drive/signals.h"
#include "drive/withhold.h"
#include "state/process.h"

#define HAS_COME (POLLIN | POLLRDHUP | POLLERR | POLLHUP)

static bool take_up(struct faulted *faulted, struct flow *flow, enum fault_operation operation,
                    const struct descriptor *entry);
static void show_the_rest(struct faulted *faulted, const struct transfer *transfer, struct descriptor *entry,
                          size_t moved);
static void keep(const struct faulted *faulted);
static uint64_t due_of(struct faulted *faulted, int fd);
static bool is_at_end(int fd);
static bool hide(struct descriptor *entry, int fd, unsigned what, uint64_t until_ns);
static void give_back(struct pending *pending);
static struct flow_planned *planned_of(const struct faulted *faulted);

enum shaped shape_begin(struct faulted *faulted, struct flow *flow, enum fault_operation operation,
                        const struct transfer *transfer, struct descriptor *entry)
{
    bool is_sending = operation == FAULT_SEND;
    unsigned what = is_sending ? WITHHOLD_OUT : WITHHOLD_IN;
    int error = errno;
    if (flow->sides[operation].planned.is_on) {
        if (!take_up(faulted, flow, operation, entry))
            return SHAPE_NOTHING; /* another thread is at it */
    } else {
        faulted->may_wait = true;
        faulted->may_hang = false;
        bool is_shown = !(withheld_of(entry) & (is_sending ? POLLOUT : POLLIN));
        if (is_shown && !faults_begin(faulted, flow, operation, transfer->caller, entry))
            return SHAPE_NOTHING;
        if (!is_shown) { /* to the program it is not connected yet */
            errno = EAGAIN;
            return SHAPE_LATER;
        }
    }
    faulted->may_wait = false;
    if (!planned_of(faulted)->is_on)
        planned_of(faulted)->begun_ns = 0;
    uint64_t due_ns = due_of(faulted, transfer->fd);
    keep(faulted);
    if (due_ns && hide(entry, transfer->fd, what, due_ns)) {
        faults_end(faulted);
        if (is_sending && descriptor_guard(entry)->send_ns)
            deadline_room(entry, transfer->fd);
        errno = EAGAIN;
        return SHAPE_LATER;
    }
    faulted->plan.delay_ns = 0;
    errno = error;
    return SHAPE_NOW;
}

void shape_ended(struct faulted *faulted, const struct transfer *transfer, struct descriptor *entry,
                 ssize_t result)
{
    bool is_made = faulted->plan.action == FAULT_GO || faulted->plan.action == FAULT_DROP;
    bool is_still_to_come = is_made && result < 0 && (errno == EAGAIN || errno == EINTR);
    bool is_still_there = result >= 0 && transfer->flags & MSG_PEEK && faulted->plan.action != FAULT_DROP;
    if (!is_still_to_come && !is_still_there)
        planned_of(faulted)->is_on = false;
    bool is_limited = faulted->rates || faulted->most != UINT64_MAX || faulted->slice != UINT64_MAX;
    bool has_more = is_limited || faulted->plan.is_twice;
    if (!faulted->may_wait && has_more && result > 0)
        show_the_rest(faulted, transfer, entry, (size_t)result);
}

/* Programs that are told of edges take a part for all that there was, and wait for more: they are told of the rest as of
 * something new. */
static void show_the_rest(struct faulted *faulted, const struct transfer *transfer, struct descriptor *entry,
                          size_t moved)
{
    bool is_sending = faulted->operation == FAULT_SEND;
    int error = errno;
    bool is_part = moved < perform_size(transfer) || faulted->plan.is_twice;
    if (is_part && raw_poll(transfer->fd) & (is_sending ? POLLOUT | POLLERR | POLLHUP : HAS_COME)) {
        uint64_t now = clock_now_ns();
        bool has_room = !faulted->rates || !faulted->most || faults_room(faulted, now);
        uint64_t due_ns = has_room ? now : faulted->due_ns, gap_ns = is_sending ? faulted->gap_ns : 0;
        hide(entry, transfer->fd, is_sending ? WITHHOLD_OUT : WITHHOLD_IN,
             due_ns > now + gap_ns ? due_ns : now + gap_ns);
    }
    errno = error;
}

/* Goes on with what an earlier call was planned to be. */
static bool take_up(struct faulted *faulted, struct flow *flow, enum fault_operation operation,
                    const struct descriptor *entry)
{
    if (!flow_claim(flow, operation, entry, faulted))
        return false;
    const struct flow_planned *planned = &flow->sides[operation].planned;
    *faulted = (struct faulted){.flow = flow,
                                .entry = entry,
                                .text = faulted->text,
                                .without = faulted->without,
                                .operation = operation,
                                .caller = planned->caller,
                                .plan = planned->plan,
                                .break_ns = planned->break_ns,
                                .most = planned->most,
                                .slice = planned->slice,
                                .gap_ns = planned->gap_ns,
                                .rates = planned->rates,
                                .corrupts = planned->corrupts,
                                .closes = planned->closes,
                                .breaks = planned->breaks};
    return true;
}

static void keep(const struct faulted *faulted)
{
    struct flow_planned *planned = planned_of(faulted);
    planned->is_on = true;
    planned->caller = faulted->caller;
    planned->plan = faulted->plan;
    planned->break_ns = faulted->break_ns;
    planned->most = faulted->most;
    planned->slice = faulted->slice;
    planned->gap_ns = faulted->gap_ns;
    planned->corrupts = faulted->corrupts;
    planned->closes = faulted->closes;
    planned->rates = faulted->rates;
    planned->breaks = faulted->breaks;
}

/* When it may be made; 0: now, also where there is nothing to receive, as the kernel will say. */
static uint64_t due_of(struct faulted *faulted, int fd)
{
    struct fault_plan *plan = &faulted->plan;
    struct flow_planned *planned = planned_of(faulted);
    bool is_receiving = faulted->operation == FAULT_RECV;
    bool takes_time = plan->delay_ns || plan->action == FAULT_SILENCE || faulted->rates || faulted->closes ||
                      faulted->break_ns != FAULT_NEVER;
    if (!takes_time || (is_receiving && !(raw_poll(fd) & HAS_COME)))
        return 0;
    uint64_t now = clock_now_ns();
    if (!planned->begun_ns)
        planned->begun_ns = now;
    plan->begun_ns = planned->begun_ns;
    if (faulted->closes && is_at_end(fd)) {
        faulted->may_wait = true; /* so it is */
        plan->delay_ns += faults_close_delay_ns(faulted);
        faulted->may_wait = false;
        faulted->closes = 0;
    }
    uint64_t due_ns = fault_plan_due_ns(plan);
    if (now >= faulted->break_ns) {
        faults_broken(faulted);
        plan->action = FAULT_BREAK;
        return 0;
    }
    if (due_ns > now)
        return due_ns;
    return faulted->rates && !faults_room(faulted, now) ? faulted->due_ns : 0;
}

/* Is the end what is received next? */
static bool is_at_end(int fd)
{
    char byte;
    return syscall(SYS_recvfrom, fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL) == 0;
}

/* False: it cannot be had. */
static bool hide(struct descriptor *entry, int fd, unsigned what, uint64_t until_ns)
{
    if (!process_owns_memory())
        return false;
    sigset_t mask;
    signals_block(&mask);
    struct pending *pending = withhold_claim(entry, fd);
    if (pending) {
        withhold(pending, what, until_ns);
        if (what != WITHHOLD_ALL && until_ns < pending_nearest(clock_now_ns())) {
            if (pending->phase == PENDING_ANSWER)
                pending_due(pending, entry, until_ns); /* first: who falls asleep from now on knows */
            nudge_waiter(pending, fd);                 /* whoever has connected it will wait for it, too */
        }
        give_back(pending);
    }
    signals_restore(&mask);
    return pending;
}

static void give_back(struct pending *pending)
{
    if (pending->phase == PENDING_ANSWER)
        deadline_release(pending);
    else
        pending_release(pending, atomic_load_explicit(&pending->due_ns, memory_order_relaxed));
}

void shape_attempt(struct pending *pending, struct flow *flow)
{
    if (flow->connect_delay_ns)
        withhold(pending, WITHHOLD_ALL, clock_now_ns() + flow->connect_delay_ns);
    flow->connect_delay_ns = 0;
}

void shape_connect(struct descriptor *entry, int fd, struct flow *flow)
{
    uint64_t delay_ns = flow->connect_delay_ns;
    int error = errno;
    flow->connect_delay_ns = 0;
    if (delay_ns)
        hide(entry, fd, WITHHOLD_ALL, clock_now_ns() + delay_ns);
    errno = error;
}

static struct flow_planned *planned_of(const struct faulted *faulted)
{
    return &faulted->flow->sides[faulted->operation].planned;
}
