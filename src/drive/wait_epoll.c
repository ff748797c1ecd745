#include <errno.h>

#include "base/clock.h"
#include "drive/nudge.h"
#include "drive/raw.h"
#include "drive/readiness.h"
#include "drive/waits.h"
#include "drive/whose.h"
#include "drive/withhold.h"
#include "hooks/real.h"
#include "state/epoll_files.h"
#include "state/registered_data.h"
#include "state/registrations.h"
#include "state/segment.h"

#define MODES     (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP)
#define FAILURES  (EPOLLERR | EPOLLHUP) /* are reported whatever is asked for */
#define TRIES_MAX 8 /* each one more because another thread has shown meanwhile what was withheld */

struct epoll_wait {
    struct wait wait;
    int epoll;
    struct epoll_event *events;
    int count;
    bool is_exact;
};

static __attribute__((noinline)) unsigned look_into(struct epoll_wait *mine, const struct epoll_event *event);
static unsigned sift_of(struct epoll_wait *mine, int fd, const struct registration *found, unsigned seen);
static unsigned asked_by_now(int epoll, int fd, const struct pending *pending,
                             const struct registration *found, unsigned seen);
static bool is_reported_anew(int fd, const struct registration *found, unsigned seen, unsigned shown);
static unsigned sift_shared(struct epoll_wait *mine, struct whose *whose, unsigned events);
static bool is_not_of(int epoll, int fd, const struct registration *found, unsigned events);
static void complete(struct registration *found, unsigned events);
static unsigned asked_of(int epoll, int fd, const struct registration *found);
static bool is_armed(int epoll, int fd);
static void arm_again(int epoll, int fd, const struct registration *registration);

static bool has(const struct waiter *waiter, int fd)
{
    struct registration found;
    const struct epoll_wait *mine = (const struct epoll_wait *)waiter;
    return registration_find(mine->epoll, fd, &found) && found.events & (EPOLLIN | EPOLLRDNORM);
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

/* The same, whatever the descriptor is. */
static unsigned sift_of(struct epoll_wait *mine, int fd, const struct registration *found, unsigned seen)
{
    struct descriptor *entry = descriptor_of(fd);
    struct pending *pending = entry ? pending_of(entry) : NULL;
    if (pending && nudge_is_in(pending, mine->epoll)) {
        seen = nudge_seen(pending, mine->epoll, fd, found, seen);
        seen &= asked_by_now(mine->epoll, fd, pending, found, seen);
        return seen | deadline_overdue(fd, found->events);
    }
    if (entry) {
        unsigned shown = sift_one(mine, fd, entry, found, seen);
        if (is_reported_anew(fd, found, seen, shown))
            return 0;
        return shown & asked_by_now(mine->epoll, fd, pending, found, shown);
    }
    if (!wait_is_overtaken(&mine->wait))
        return seen;
    /* Nobody has to see to it any more. */
    unsigned shown = wait_sift(&mine->wait, fd, NULL, seen, found->events & ~MODES);
    if (is_reported_anew(fd, found, seen, shown))
        return 0;
    if (!shown && found->events & EPOLLONESHOT)
        arm_again(mine->epoll, fd, found);
    return shown;
}

/* Has what is to be shown of it an edge of its own, which some thread is told of? The failure that was seen is over: another thread
 * has begun the next attempt since. Of TCP each attempt has an edge; of a stand-in perhaps not. */
static bool is_reported_anew(int fd, const struct registration *found, unsigned seen, unsigned shown)
{
    const struct descriptor *entry = descriptor_of(fd);
    return shown && seen & FAILURES && !(shown & FAILURES) && !process_is_alone() &&
           (found->events & (EPOLLET | EPOLLONESHOT)) == EPOLLET && descriptor_kind(fd) == SOCKET_TCP &&
           !(entry && atomic_load_explicit(&entry->degraded, memory_order_relaxed));
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
    bool is_known = epoll_file_find(epoll, fd, &now);
    if (pending && nudge_is_in(pending, epoll))
        return asked;
    return is_known ? now.events | EPOLLERR | EPOLLHUP : ~0u;
}

/* Most events can be shown as they are: where no other thread can be doing anything about it, the only descriptor that it can be of
 * is none of ours, or is connected, or this is the good end of its attempt. False: it is to be looked into. */
static bool is_plain(const struct epoll_wait *mine, const struct epoll_event *event)
{
    uint32_t asked;
    if (!process_is_alone() || withhold_is_on() ||
        atomic_load_explicit(&pending_head->nudges, memory_order_relaxed) ||
        (event->events & FAILURES && wait_is_overtaken(&mine->wait)))
        return false;
    int fd = registered_data_only(mine->epoll, event->data.u64, &asked);
    if (fd < 0 || asked & EPOLLONESHOT || event->events & ~(asked | FAILURES))
        return false;
    struct descriptor *entry = descriptor_of(fd);
    uint32_t state = entry ? atomic_load_explicit(&entry->state, memory_order_acquire) : 0;
    if (!(state & (CONNECTING | CONNECT_ERROR_DUE)))
        return true;
    return !(state & CONNECT_ERROR_DUE) && event->events & EPOLLOUT && !(event->events & FAILURES) &&
           readiness_is_up(fd, entry);
}

static int sift(struct wait *wait, int ready)
{
    struct epoll_wait *mine = (struct epoll_wait *)wait;
    int left = 0;
    for (int i = 0; i < ready; i++) {
        struct epoll_event *event = &mine->events[i];
        unsigned shown = is_plain(mine, event) ? event->events : look_into(mine, event);
        if (shown)
            mine->events[left++] = (struct epoll_event){.events = shown, .data = event->data};
    }
    return left;
}

/* What the program sees of an event, whosever it is. */
static unsigned look_into(struct epoll_wait *mine, const struct epoll_event *event)
{
    struct registration found;
    struct whose whose;
    unsigned shown = event->events;
    int fd = whose_event(&whose, mine->epoll, event, wait_is_overtaken(&mine->wait), &found);
    if (fd >= 0)
        complete(&found, event->events);
    if (fd >= 0 && is_not_of(mine->epoll, fd, &found, event->events))
        fd = whose_else(&whose);
    if (fd == SEVERAL_MAY)
        shown = sift_shared(mine, &whose, event->events);
    else if (fd >= 0)
        shown = sift_of(mine, fd, &found, event->events);
    /* Another thread has been told of it since, perhaps by something newer than this, and has closed it. */
    bool is_over = whose.is_gone || (fd >= 0 && !process_is_alone() && !whose_is_still(&whose, fd));
    return is_over ? 0 : shown;
}

/* The kernel does not tell any more what a registration that it has disarmed was for: for what it has reported at least. */
static void complete(struct registration *found, unsigned events)
{
    if (found->events & EPOLLONESHOT && !(found->events & ~MODES))
        found->events |= events & ~(uint32_t)FAILURES;
}

/* Several are registered under the same data. Each of them that the event can be about is asked for what holds now: of those that
 * nothing is to be hidden of that is shown, as far as it was reported, and the others are sifted. */
static unsigned sift_shared(struct epoll_wait *mine, struct whose *whose, unsigned events)
{
    struct registration found;
    unsigned shown = 0, owed = 0;
    bool is_explained = false;
    for (int fd; (fd = whose_next(whose, &found)) >= 0;) {
        bool is_ours = whose_is_ours(descriptor_of(fd)), is_once = found.events & EPOLLONESHOT;
        complete(&found, events);
        if (events & ~asked_of(mine->epoll, fd, &found) || (is_once && is_armed(mine->epoll, fd)))
            continue;
        unsigned now = raw_poll(fd) & asked_of(mine->epoll, fd, &found);
        is_explained |= now != 0;
        if (is_ours)
            shown |= now || is_once ? sift_of(mine, fd, &found, now) : 0;
        else if (now & events)
            shown |= now & events;
        else if (is_once)
            owed |= events & found.events;
    }
    if (shown || is_explained || !owed)
        return shown;
    /* It is over by now, and may have been about one that is not going to report anything else. */
    segment_passed(PASSED_AMBIGUOUS);
    return owed;
}

/* It is about another descriptor, of which nothing is known. */
static bool is_not_of(int epoll, int fd, const struct registration *found, unsigned events)
{
    struct descriptor *entry = descriptor_of(fd);
    if (!entry)
        return events & ~asked_of(epoll, fd, found);
    if (!(atomic_load_explicit(&entry->state, memory_order_relaxed) & CONNECTING))
        return false;
    unsigned asked = asked_of(epoll, fd, found);
    if (events & ~asked)
        return true;
    /* Among threads it may be over by now. A success is looked into no further: it costs what each connection would pay. */
    return process_is_alone() && !(events & EPOLLOUT && !(events & FAILURES)) && !withheld_of(entry) &&
           !(raw_poll(fd) & asked);
}

/* What a registration can report. */
static unsigned asked_of(int epoll, int fd, const struct registration *found)
{
    const struct descriptor *entry = descriptor_of(fd);
    const struct pending *pending = entry ? pending_of(entry) : NULL;
    unsigned asked = found->events & ~MODES;
    if (!(asked & ~FAILURES) && found->events & EPOLLONESHOT)
        return ~0u; /* the kernel has told what is left of it */
    if (pending && nudge_is_in(pending, epoll))
        asked |= EPOLLOUT;
    return asked | FAILURES;
}

/* One that reports once and has not done so yet. */
static bool is_armed(int epoll, int fd)
{
    struct registration now;
    return epoll_file_find(epoll, fd, &now) && now.events & ~MODES;
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
