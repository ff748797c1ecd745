#include <errno.h>

#include "base/clock.h"
#include "drive/nudge.h"
#include "drive/readiness.h"
#include "drive/waits.h"
#include "drive/withhold.h"
#include "hooks/real.h"
#include "state/registrations.h"
#include "state/segment.h"

#define MODES     (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP)
#define TRIES_MAX 8 /* each one more because another thread has shown meanwhile what was withheld */

struct epoll_wait {
    struct wait wait;
    int epoll;
    struct epoll_event *events;
    int count;
    bool is_exact;
};

static int find_descriptor(int epoll, const struct epoll_event *event, struct registration *found);
static bool is_about(int epoll, int fd, const struct epoll_event *event, bool ask,
                     struct registration *found);
static int number_about(int epoll, const struct pending *pending, const struct epoll_event *event, bool ask,
                        struct registration *found);
static void arm_again(int epoll, int fd, const struct registration *registration);

static bool has(const struct waiter *waiter, int fd)
{
    struct registration found;
    const struct epoll_wait *mine = (const struct epoll_wait *)waiter;
    return registration_find(mine->epoll, fd, &found) && found.events & EPOLLIN;
}

static int make(struct wait *wait, uint64_t until_ns, const sigset_t *mask)
{
    struct epoll_wait *mine = (struct epoll_wait *)wait;
    struct timespec left;
    const struct timespec *timeout = wait_left(wait, until_ns, &left);
    int ready = real.epoll_pwait2(mine->epoll, mine->events, mine->count, timeout, mask);
    if (ready >= 0 || (errno != ENOSYS && errno != EPERM) || mine->is_exact)
        return ready;
    /* Linux before 5.11 counts milliseconds; EPERM: a container's filter that does not know the call. */
    uint64_t ms =
        timeout ? ((uint64_t)left.tv_sec * 1000 + ((uint64_t)left.tv_nsec + NS_PER_MS - 1) / NS_PER_MS) : 0;
    return real.epoll_pwait(mine->epoll, mine->events, mine->count,
                            !timeout          ? -1
                            : ms > (1u << 30) ? 1 << 30
                                              : (int)ms,
                            mask);
}

/* What the program sees of an event. */
static unsigned sift_one(struct epoll_wait *mine, int fd, struct descriptor *entry,
                         const struct registration *found, unsigned seen)
{
    for (unsigned tries = 1;; tries++) {
        unsigned shown = wait_sift(&mine->wait, fd, entry, seen, found->events & ~MODES);
        if (!(withheld_of(entry) & seen)) {
            if (!shown && found->events & EPOLLONESHOT)
                arm_again(mine->epoll, fd, found);
            return shown;
        }
        enum withheld withheld = withhold_event(mine->epoll, fd, entry, found, seen);
        if (withheld != SHOWN_MEANWHILE || tries == TRIES_MAX)
            return withheld == CANNOT_BE_WITHHELD ? seen : shown;
    }
}

/* One that nobody has to see to any more. */
static void look_again(struct epoll_wait *mine, struct epoll_event *event)
{
    struct registration found;
    int fd = event->data.fd;
    bool is_known = registration_is_unclear(fd) ? registration_look_up(mine->epoll, fd, &found)
                                                : registration_find(mine->epoll, fd, &found);
    if (!is_known || found.data != event->data.u64)
        fd = registration_by_data(mine->epoll, event->data.u64, &found);
    if (fd < 0)
        return;
    event->events = wait_sift(&mine->wait, fd, NULL, event->events, found.events & ~MODES);
    if (!event->events && found.events & EPOLLONESHOT)
        arm_again(mine->epoll, fd, &found);
}

/* What was asked for, where more than that is seen: what was nudged may have been put right by a thread that the same has woken,
 * and be nudged again; or the program asks for more in a way that nobody sees. */
static unsigned asked_by_now(int epoll, int fd, const struct pending *pending,
                             const struct registration *found, unsigned seen)
{
    struct registration now;
    unsigned asked = found->events | EPOLLERR | EPOLLHUP;
    if (!(seen & ~asked) || found->events & EPOLLONESHOT)
        return ~0u;
    if (pending && nudge_is_in(pending, epoll))
        return asked;
    bool is_known = registration_ask(epoll, fd, &now);
    if (pending && nudge_is_in(pending, epoll))
        return asked;
    return is_known ? now.events | EPOLLERR | EPOLLHUP : ~0u;
}

static int sift(struct wait *wait, int ready)
{
    struct epoll_wait *mine = (struct epoll_wait *)wait;
    int left = 0;
    for (int i = 0; i < ready; i++) {
        struct epoll_event event = mine->events[i];
        struct registration found;
        int fd = find_descriptor(mine->epoll, &event, &found);
        /* The kernel does not tell any more what a registration that it has disarmed was for: for this at least. */
        if (fd >= 0 && found.events & EPOLLONESHOT && !(found.events & ~MODES))
            found.events |= event.events & ~(uint32_t)(EPOLLERR | EPOLLHUP);
        struct descriptor *entry = descriptor_of(fd);
        struct pending *pending = entry ? pending_of(entry) : NULL;
        if (pending && nudge_is_in(pending, mine->epoll)) {
            event.events = nudge_seen(pending, mine->epoll, fd, &found, event.events);
            event.events &= asked_by_now(mine->epoll, fd, pending, &found, event.events);
            event.events |= deadline_overdue(fd, found.events);
        } else if (entry) {
            event.events = sift_one(mine, fd, entry, &found, event.events);
            event.events &= asked_by_now(mine->epoll, fd, pending, &found, event.events);
        } else if (wait_is_overtaken(wait))
            look_again(mine, &event);
        if (event.events)
            mine->events[left++] = event;
    }
    return left;
}

/* Which connecting descriptor an event is about; -1: none, or it cannot be told. */
static int find_descriptor(int epoll, const struct epoll_event *event, struct registration *found)
{
    /* Most programs register a descriptor under its own number. */
    int guess = event->data.fd;
    if (is_about(epoll, guess, event, true, found))
        return guess;
    int known = registration_by_data(epoll, event->data.u64, found);
    if (known != REGISTRATION_UNCLEAR)
        return known;
    uint32_t cursor = 0;
    struct registration one;
    int fd = -1;
    for (struct pending *pending; (pending = pending_each(&cursor));) {
        bool is_failure = event->events & (EPOLLERR | EPOLLHUP); /* worth asking the kernel */
        bool is_sifted = pending_is_connect(pending->phase) || withheld_of_slot(pending) ||
                         atomic_load_explicit(&pending->nudged, memory_order_relaxed);
        int number =
            is_sifted && pending->fd != guess ? number_about(epoll, pending, event, is_failure, &one) : -1;
        if (number < 0)
            continue;
        if (fd >= 0) {
            segment_passed(PASSED_AMBIGUOUS);
            return -1;
        }
        fd = number;
        *found = one;
    }
    return fd;
}

/* The number of that descriptor under which it is registered so. It may have several, and have had others. */
static int number_about(int epoll, const struct pending *pending, const struct epoll_event *event, bool ask,
                        struct registration *found)
{
    const struct descriptor *entry = atomic_load_explicit(&pending->entry, memory_order_relaxed);
    if (!entry)
        return -1;
    bool is_known = descriptor_of(pending->fd) == entry;
    if (is_known && is_about(epoll, pending->fd, event, ask, found))
        return pending->fd;
    if (is_known && atomic_load_explicit(&entry->references, memory_order_relaxed) < 2)
        return -1;
    for (int fd = descriptor_next(0, ~0u); fd >= 0; fd = descriptor_next((unsigned)fd + 1, ~0u))
        if (descriptor_of(fd) == entry && is_about(epoll, fd, event, ask, found))
            return fd;
    return -1;
}

static bool is_about(int epoll, int fd, const struct epoll_event *event, bool ask, struct registration *found)
{
    struct descriptor *entry = descriptor_of(fd);
    if (!entry)
        return false;
    bool is_sifted =
        atomic_load_explicit(&entry->state, memory_order_relaxed) & (CONNECTING | CONNECT_ERROR_DUE) ||
        withheld_of(entry);
    bool is_known = is_sifted && (ask || registration_is_unclear(fd)) ? registration_look_up(epoll, fd, found)
                                                                      : registration_find(epoll, fd, found);
    return is_known && found->data == event->data.u64;
}

/* The kernel disarms a registration once it has reported an event, and the program has not seen one. */
static void arm_again(int epoll, int fd, const struct registration *registration)
{
    struct epoll_event event = {.events = registration->events, .data.u64 = registration->data};
    real.epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

int wait_epoll(int epoll, struct epoll_event *events, int count, uint64_t deadline_ns, const sigset_t *mask,
               bool is_exact, int ready)
{
    struct epoll_wait wait = {
        .wait = {.waiter.has = has, .make = make, .sift = sift, .deadline_ns = deadline_ns, .mask = mask},
        .epoll = epoll,
        .events = events,
        .count = count,
        .is_exact = is_exact};
    registration_waits_in(epoll);
    return wait_carry_out(&wait.wait, ready);
}
