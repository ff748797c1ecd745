#include "drive/waits.h"

#include <errno.h>

#include "base/clock.h"
#include "drive/raw.h"
#include "drive/readiness.h"
#include "drive/signals.h"
#include "drive/transfer.h"
#include "drive/withhold.h"
#include "state/process.h"
#include "state/tally.h"

#define LOOKS_SPARED 8
#define LOOKS_MAX    8 /* each one more because something has ended during the one before */

static int wait_unhindered(struct wait *wait);
static int look(struct wait *wait);
static void calm(void);
static bool has_hidden(void);
static uint32_t changes(void);
static bool is_doubtful(const struct wait *wait);

/* Signals are blocked except within the real waits, so that none slips in between two of them: the program would not
 * learn that its wait was interrupted. Only one that began when there was nothing to hide has let them in: if all that
 * it found is hidden, a handler may have run since, and who has one is told so rather than left asleep.
 * Whose the table is costs a system call, and is asked when there is work. */
int wait_carry_out(struct wait *wait, int ready)
{
    int error = errno;
    tally_settle();
    if (__atomic_load_n(&waits_seen, __ATOMIC_ACQUIRE) != WAITS_CAUGHT_UP)
        deadline_catch_up();
    wait->changes = changes() - (ready != NOT_YET); /* then there is something that was not before it */
    wait->was_open = ready != NOT_YET;
    if (ready == NOT_YET && !has_hidden()) {
        ready = wait_unhindered(wait);
        if (ready < 0 && ready != NOT_YET)
            error = errno;
    }
    /* A wait that found nothing has used up the program's time, whatever another thread has begun meanwhile. */
    bool is_decided = ready <= 0 && ready != NOT_YET;
    if (is_decided || (ready >= 0 && !is_doubtful(wait))) {
        errno = error;
        return ready;
    }
    sigset_t before;
    signals_block(&before);
    const sigset_t *mask = wait->mask ? wait->mask : &before;
    bool is_ours = false;
    for (;;) {
        if ((ready < 0 && ready != NOT_YET) || (ready > 0 && !is_ours && !is_doubtful(wait)))
            break;
        bool is_for_show = ready > 0 && is_ours; /* the time matters only if nothing of it is shown */
        uint64_t now = is_for_show ? 0 : (wait->now_ns = clock_now_ns());
        if (!is_ours &&
            (is_doubtful(wait) || pending_nearest(now) <= now || readiness_is_left_to(&wait->waiter))) {
            is_ours = process_owns_memory();
            if (!is_ours && ready <= 0) {
                ready = wait->make(wait, wait->deadline_ns, mask);
                error = ready < 0 ? errno : error;
            }
            if (!is_ours)
                break;
        }
        wait->is_in_vain = ready > 0 && (ready = wait->sift(wait, ready)) == 0;
        if (ready > 0)
            break;
        if (wait->is_in_vain && wait->was_open && signals_can_interrupt(&before)) {
            ready = -1;
            error = EINTR;
            break;
        }
        wait->was_open = false;
        if (is_for_show)
            now = wait->now_ns = clock_now_ns();
        if (is_ours)
            readiness_run(now, &wait->waiter);
        if (ready == 0 && now >= wait->deadline_ns)
            break;
        uint64_t nearest = pending_nearest(now);
        if (readiness_is_left_to(&wait->waiter)) /* by who had it while we looked */
            nearest = now;
        wait->changes = changes();
        ready = wait->make(wait, nearest < wait->deadline_ns ? nearest : wait->deadline_ns, mask);
        if (ready < 0)
            error = errno;
    }
    if (is_ours || (pending_can_calm() && process_owns_memory()))
        pending_calm();
    signals_restore(&before);
    errno = error;
    return ready;
}

/* One real wait where that is enough: nothing is to be hidden, and nothing comes to be due while it lasts, or something
 * is ready at once. */
static int wait_unhindered(struct wait *wait)
{
    uint64_t now = wait->now_ns = clock_now_ns(), nearest = pending_nearest(now);
    if (nearest <= now || readiness_is_left_to(&wait->waiter))
        return NOT_YET;
    if (nearest < wait->deadline_ns)
        return look(wait);
    wait->was_open = true;
    int ready = wait->make(wait, wait->deadline_ns, wait->mask), error = errno;
    if (pending_can_calm())
        calm();
    errno = error;
    return ready;
}

/* What is ready already; NOT_YET: nothing. A signal that comes after it has come before the program's wait began. It spares
 * a busy loop the blocking of signals, and costs an idle one a system call, which therefore does not look each time. */
static int look(struct wait *wait)
{
    static uint32_t spared;
    uint32_t already = __atomic_load_n(&spared, __ATOMIC_RELAXED);
    int ready = already % LOOKS_SPARED ? 0 : wait->make(wait, 0, wait->mask);
    __atomic_store_n(&spared, ready ? 0 : already + 1, __ATOMIC_RELAXED);
    return ready ? ready : NOT_YET;
}

static void calm(void)
{
    sigset_t before;
    signals_block(&before);
    pending_calm();
    signals_restore(&before);
}

/* Is there anything that the program must not see? */
static bool has_hidden(void)
{
    return atomic_load_explicit(&pending_head->connects, memory_order_relaxed) | withhold_is_on() |
           atomic_load_explicit(&pending_head->nudges, memory_order_relaxed);
}

bool wait_is_overtaken(const struct wait *wait)
{
    return changes() != wait->changes;
}

static uint32_t changes(void)
{
    return atomic_load(&pending_head->changes);
}

/* May something that it has found be what the program must not see? Or have been: who carried it out may have ended it. */
static bool is_doubtful(const struct wait *wait)
{
    return has_hidden() || wait_is_overtaken(wait);
}

unsigned wait_sift(const struct wait *wait, int fd, struct descriptor *entry, unsigned seen, unsigned asked)
{
    unsigned failures = POLLERR | POLLHUP, shown;
    for (unsigned tries = 1;; tries++) {
        uint32_t known = changes();
        unsigned now = known != wait->changes && seen & failures ? raw_poll(fd) : POLLNVAL;
        if (!(now & POLLNVAL))
            seen = now & (asked | failures);
        shown = entry ? readiness_sift(fd, entry, seen, asked) : seen;
        if (!(shown & failures) || changes() == known || tries == LOOKS_MAX)
            return shown;
    }
}

uint64_t wait_deadline_ms(int timeout_ms, uint64_t began_ns)
{
    return timeout_ms < 0
               ? NEVER
               : (began_ns == BEGINS_NOW ? clock_now_ns() : began_ns) + (uint64_t)timeout_ms * NS_PER_MS;
}

uint64_t wait_deadline(const struct timespec *timeout, uint64_t began_ns)
{
    if (!timeout)
        return NEVER;
    uint64_t seconds = (uint64_t)timeout->tv_sec;
    if (began_ns == BEGINS_NOW)
        began_ns = clock_now_ns();
    if (seconds >= (NEVER - began_ns) / NS_PER_S - 1)
        return NEVER;
    return began_ns + seconds * NS_PER_S + (uint64_t)timeout->tv_nsec;
}

const struct timespec *wait_left(const struct wait *wait, uint64_t until_ns, struct timespec *left)
{
    if (until_ns == NEVER)
        return NULL;
    *left = timespec_of_ns(until_ns > wait->now_ns ? until_ns - wait->now_ns : 0);
    return left;
}
