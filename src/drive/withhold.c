#include "drive/withhold.h"

#include <errno.h>

#include "drive/options.h"
#include "drive/signals.h"
#include "hooks/real.h"
#include "state/process.h"
#include "state/segment.h"

#define LATE_MAX 64 /* more than there may be threads that have been told of the same */
#define MODES    (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP)

static unsigned due_of(const struct pending *pending, uint64_t now_ns);
static uint64_t time_of(unsigned direction, unsigned what, uint64_t until_ns, uint64_t before_ns);
static bool is_late(struct pending *pending);
static bool silence(struct pending *pending, const struct registration *found, int fd, unsigned seen);
static struct withheld_registration *record_of(struct pending *pending, int epoll, int fd);
static void put_back(struct pending *pending);
static void put_back_one(struct pending *pending, struct withheld_registration *record);
static void report_anew(struct pending *pending);
static void report_anew_of(struct pending *pending, int fd);
static bool leads_to(const struct pending *pending, int fd);
static int change(int operation, int fd, const struct registration *registration, unsigned events);
static int control(struct withheld_registration *record, int operation, struct epoll_event *event);

struct pending *withhold_claim(struct descriptor *entry, int fd)
{
    struct pending *pending = pending_claim(entry);
    if (pending)
        return pending;
    pending = pending_of(entry) ? NULL : pending_take(entry);
    if (!pending) {
        segment_passed(PASSED_NO_MEMORY);
        return NULL;
    }
    pending->fd = fd;
    return pending_publish(pending, PENDING_ANSWER) ? pending : pending_claim(entry);
}

void withhold(struct pending *pending, unsigned what, uint64_t until_ns)
{
    pending_withhold(pending, time_of(WITHHOLD_IN, what, until_ns, pending->withheld_in_ns),
                     time_of(WITHHOLD_OUT, what, until_ns, pending->withheld_out_ns));
}

void withhold_show(struct pending *pending, unsigned what)
{
    uint64_t in_ns = time_of(WITHHOLD_IN, what, 0, pending->withheld_in_ns);
    uint64_t out_ns = time_of(WITHHOLD_OUT, what, 0, pending->withheld_out_ns);
    if (in_ns == pending->withheld_in_ns && out_ns == pending->withheld_out_ns)
        return;
    /* Until all is as the program made it epoll_ctl has to wait for that (withhold_control). */
    atomic_fetch_add(&pending_head->withheld, 1);
    pending_withhold(pending, in_ns, out_ns);
    put_back(pending);
    atomic_fetch_sub(&pending_head->withheld, 1);
}

bool withhold_is_due(const struct pending *pending, uint64_t now_ns)
{
    return due_of(pending, now_ns);
}

void withhold_show_due(struct pending *pending, uint64_t now_ns)
{
    withhold_show(pending, due_of(pending, now_ns));
}

static unsigned due_of(const struct pending *pending, uint64_t now_ns)
{
    uint64_t in_ns = pending->withheld_in_ns, out_ns = pending->withheld_out_ns;
    return (in_ns && in_ns <= now_ns ? WITHHOLD_IN : 0) | (out_ns && out_ns <= now_ns ? WITHHOLD_OUT : 0);
}

static uint64_t time_of(unsigned direction, unsigned what, uint64_t until_ns, uint64_t before_ns)
{
    return what & direction ? until_ns : before_ns;
}

enum withheld withhold_event(int epoll, int fd, struct descriptor *entry, const struct registration *found,
                             unsigned seen)
{
    struct pending *pending = pending_claim(entry);
    if (!pending)
        return SHOWN_MEANWHILE;
    enum withheld withheld = SHOWN_MEANWHILE;
    if (withheld_of_slot(pending) & seen) {
        struct registration registration = *found;
        registration.epoll = epoll + 1;
        withheld = silence(pending, &registration, fd, seen) ? WITHHELD : CANNOT_BE_WITHHELD;
    }
    pending_put_back(pending);
    if (withheld == CANNOT_BE_WITHHELD)
        segment_passed(PASSED_AMBIGUOUS);
    return withheld;
}

/* Edge-triggered and one-shot registrations are silent by themselves once they have reported. Others ask for less, and if
 * that is not enough (failures are always reported) or cannot be had (exclusive ones cannot be changed) for nothing. */
static bool silence(struct pending *pending, const struct registration *found, int fd, unsigned seen)
{
    struct withheld_registration *record = record_of(pending, found->epoll, fd);
    if (!record)
        return false;
    if (record->how == AS_IT_IS) {
        record->fd = fd;
        record->registration = *found;
    }
    /* Another thread that waits in the same epoll has seen to it. */
    if (record->how == TAKEN_OUT)
        return is_late(pending);
    const struct registration *registration = &record->registration;
    unsigned withheld = withheld_of_slot(pending), events = registration->events, left = events & ~withheld;
    if (events & EPOLLONESHOT && seen & ~withheld) {
        record->how = AS_IT_IS; /* the program sees some of it, and arms it again itself */
        return true;
    }
    if (events & EPOLLET) {
        record->how = OWED;
        return true;
    }
    descriptor_note_kind(found->epoll - 1, NO_SOCKET_BUT_EPOLL);
    bool can_ask_for_less = left & ~MODES && !(events & EPOLLEXCLUSIVE) && record->how == AS_IT_IS;
    if (can_ask_for_less && change(EPOLL_CTL_MOD, fd, registration, left) == 0) {
        record->how = MASKED;
        return true;
    }
    if (events & EPOLLONESHOT) {
        record->how = OWED;
        return true;
    }
    record->how = TAKEN_OUT;
    if (change(EPOLL_CTL_DEL, fd, registration, 0) == 0)
        return true;
    record->how = AS_IT_IS;
    return errno == ENOENT && is_late(pending); /* the program has taken it out since */
}

/* Is what was reported about a registration that is not there any more? Not where that goes on: then it is about another one. */
static bool is_late(struct pending *pending)
{
    return pending->late_events++ < LATE_MAX;
}

/* The record of that registration, or a free one; NULL: there is none. */
static struct withheld_registration *record_of(struct pending *pending, int epoll, int fd)
{
    struct withheld_registration *free = NULL;
    for (unsigned i = 0; i < WITHHELD_EPOLLS; i++) {
        struct withheld_registration *record = &pending->withheld[i];
        if (record->how == AS_IT_IS)
            free = record;
        else if (record->registration.epoll == epoll && record->fd == fd)
            return record;
    }
    return free;
}

static void put_back(struct pending *pending)
{
    int error = errno;
    bool has_records = false;
    pending->late_events = 0;
    for (unsigned i = 0; i < WITHHELD_EPOLLS; i++) {
        has_records |= pending->withheld[i].how != AS_IT_IS;
        put_back_one(pending, &pending->withheld[i]);
    }
    if (!has_records)
        report_anew(pending);
    errno = error;
}

static void put_back_one(struct pending *pending, struct withheld_registration *record)
{
    const struct registration *registration = &record->registration;
    int fd = record->fd, epoll = registration->epoll - 1;
    unsigned events = registration->events;
    bool was_taken_out = record->how == TAKEN_OUT;
    /* Either number may have been closed, and lead elsewhere by now. */
    bool is_there = record->how != AS_IT_IS && leads_to(pending, fd) &&
                    (record->how == OWED || descriptor_kind(epoll) == NO_SOCKET_BUT_EPOLL);
    record->how = AS_IT_IS;
    if (!is_there)
        return;
    if (!was_taken_out && events & EPOLLEXCLUSIVE)
        was_taken_out = change(EPOLL_CTL_DEL, fd, registration, 0) == 0;
    change(was_taken_out ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, registration, events);
}

/* The program was told by a call of its own that there is nothing, so an edge that it has seen before is not enough. */
static void report_anew(struct pending *pending)
{
    const struct descriptor *entry = pending->entry;
    if (leads_to(pending, pending->fd))
        report_anew_of(pending, pending->fd);
    if (atomic_load_explicit(&entry->references, memory_order_relaxed) < 2)
        return;
    for (int fd = -1; (fd = descriptor_next_of(entry, (unsigned)fd + 1)) >= 0;)
        if (fd != pending->fd)
            report_anew_of(pending, fd);
}

static void report_anew_of(struct pending *pending, int fd)
{
    struct withheld_registration record = {.fd = fd};
    unsigned turn = 0;
    while (registration_each(fd, &turn, &record.registration)) {
        record.how = OWED;
        /* One that reports once is armed by the program, when it wants to be told. */
        if ((record.registration.events & (EPOLLET | EPOLLONESHOT)) == EPOLLET)
            put_back_one(pending, &record);
    }
}

static bool leads_to(const struct pending *pending, int fd)
{
    const struct descriptor *entry = atomic_load_explicit(&pending->entry, memory_order_relaxed);
    return entry && descriptor_of(fd) == entry && option_cookie(fd) == entry->cookie;
}

static int change(int operation, int fd, const struct registration *registration, unsigned events)
{
    struct epoll_event event = {.events = events, .data.u64 = registration->data};
    return real.epoll_ctl(registration->epoll - 1, operation, fd, &event);
}

int withhold_control(int epoll, int operation, int fd, struct epoll_event *event)
{
    struct descriptor *entry = withhold_is_on() ? descriptor_of(fd) : NULL;
    if (!entry || !pending_of(entry) || !process_owns_memory())
        return real.epoll_ctl(epoll, operation, fd, event);
    sigset_t mask;
    signals_block(&mask);
    struct pending *pending = pending_claim(entry);
    struct withheld_registration *record = pending ? record_of(pending, epoll + 1, fd) : NULL;
    int result = record && record->how != AS_IT_IS ? control(record, operation, event)
                                                   : real.epoll_ctl(epoll, operation, fd, event);
    if (pending)
        pending_put_back(pending);
    signals_restore(&mask);
    return result;
}

/* What the kernel would say to the program's call, if the registration were there. Whatever it asks for now may be reported
 * at once, and is then withheld anew. */
static int control(struct withheld_registration *record, int operation, struct epoll_event *event)
{
    int epoll = record->registration.epoll - 1, fd = record->fd, result;
    if (record->how != TAKEN_OUT)
        result = real.epoll_ctl(epoll, operation, fd, event);
    else if (operation == EPOLL_CTL_DEL)
        result = 0;
    else if (operation == EPOLL_CTL_MOD && !(record->registration.events & EPOLLEXCLUSIVE))
        result = real.epoll_ctl(epoll, EPOLL_CTL_ADD, fd, event);
    else {
        errno = operation == EPOLL_CTL_ADD ? EEXIST : EINVAL;
        result = -1;
    }
    if (result == 0)
        record->how = AS_IT_IS;
    return result;
}
