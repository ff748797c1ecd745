#include "drive/waits.h"

#include <errno.h>

#include "base/clock.h"
#include "drive/readiness.h"
#include "drive/signals.h"
#include "drive/transfer.h"
#include "state/process.h"

static bool is_one_wait_enough(const struct wait *wait);
static int sleep_until(struct wait *wait, uint64_t until_ns, const sigset_t *mask);
static void calm(void);
static bool has_hidden(void);

/* Signals are blocked except within the real waits, so that none slips in between two of them: the program would not
 * learn that its wait was interrupted. */
int wait_carry_out(struct wait *wait, int ready)
{
    int error = errno;
    if (!__atomic_exchange_n(&waits_seen, 1, __ATOMIC_RELAXED))
        deadline_catch_up();
    if (ready == NOT_YET && is_one_wait_enough(wait)) {
        ready = sleep_until(wait, wait->deadline_ns, wait->mask);
        if (ready < 0)
            error = errno;
        if (pending_can_calm())
            calm();
    }
    /* A wait that found nothing has used up the program's time, whatever another thread has begun meanwhile. */
    bool is_decided = ready <= 0 && ready != NOT_YET;
    if (is_decided || (ready >= 0 && !has_hidden())) {
        errno = error;
        return ready;
    }
    if (!process_owns_memory())
        return ready == NOT_YET ? wait->make(wait, wait->deadline_ns, wait->mask) : ready;
    sigset_t before;
    signals_block(&before);
    for (;;) {
        if (ready > 0)
            ready = wait->sift(wait, ready);
        if (ready > 0 || (ready < 0 && ready != NOT_YET))
            break;
        uint64_t now = clock_now_ns();
        readiness_run(now, &wait->waiter);
        if (ready == 0 && now >= wait->deadline_ns)
            break;
        uint64_t nearest = pending_nearest(now);
        ready = sleep_until(wait, nearest < wait->deadline_ns ? nearest : wait->deadline_ns,
                            wait->mask ? wait->mask : &before);
        if (ready < 0)
            error = errno;
    }
    pending_calm();
    signals_restore(&before);
    errno = error;
    return ready;
}

static void calm(void)
{
    sigset_t before;
    signals_block(&before);
    pending_calm();
    signals_restore(&before);
}

/* Others have to know that what they begin will not be seen before the wait ends. */
static int sleep_until(struct wait *wait, uint64_t until_ns, const sigset_t *mask)
{
    nudge_fall_asleep(wait->asleep);
    int ready = wait->make(wait, until_ns, mask);
    nudge_wake_up(wait->asleep);
    return ready;
}

/* Is there anything that the program must not see? */
static bool has_hidden(void)
{
    return atomic_load_explicit(&pending_head->connects, memory_order_relaxed) |
           atomic_load_explicit(&pending_head->nudges, memory_order_relaxed);
}

/* Nothing comes to be due while it lasts, and nothing is to be hidden. */
static bool is_one_wait_enough(const struct wait *wait)
{
    if (has_hidden())
        return false;
    uint64_t now = clock_now_ns(), nearest = pending_nearest(now);
    return nearest > now && nearest >= wait->deadline_ns;
}

uint64_t wait_deadline_ms(int timeout_ms)
{
    return timeout_ms < 0 ? NEVER : clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
}

uint64_t wait_deadline(const struct timespec *timeout)
{
    if (!timeout)
        return NEVER;
    uint64_t now = clock_now_ns(), seconds = (uint64_t)timeout->tv_sec;
    if (seconds >= (NEVER - now) / NS_PER_S - 1)
        return NEVER;
    return now + seconds * NS_PER_S + (uint64_t)timeout->tv_nsec;
}

const struct timespec *wait_left(uint64_t until_ns, struct timespec *left)
{
    if (until_ns == NEVER)
        return NULL;
    uint64_t now = clock_now_ns();
    *left = timespec_of_ns(until_ns > now ? until_ns - now : 0);
    return left;
}
