#include "drive/whose.h"

#include <sched.h>

#include "drive/withhold.h"
#include "hooks/real.h"
#include "state/epoll_files.h"
#include "state/pending.h"
#include "state/registered_data.h"
#include "state/segment.h"

#define LOOKS_MAX 50u /* whoever is closing it may have to wait for a processor */

static bool has_any(void);
static int ask(struct whose *whose, struct registration *found);
static epoll_file_each keep;
static int ours_in_slots(struct whose *whose, struct registration *found);
static int number_of(int epoll, const struct pending *pending, uint64_t data, struct registration *found);
static bool is_with(int epoll, int fd, uint64_t data, struct registration *found);

int whose_event(struct whose *whose, int epoll, const struct epoll_event *event, bool is_overtaken,
                struct registration *found)
{
    whose->epoll = epoll;
    whose->data = event->data.u64;
    whose->asked_count = 0;
    whose->is_cut = whose->is_gone = false;
    whose_again(whose);
    struct registration one;
    bool has_ours = false, is_one = true;
    int fd = NOBODY_KNOWN, next;
    while ((next = whose_next(whose, &one)) >= 0) {
        is_one &= fd < 0 || fd == next;
        has_ours |= whose_is_ours(descriptor_of(next));
        if (fd < 0)
            *found = one;
        fd = fd < 0 ? next : fd;
    }
    if (fd < 0 || (registered_data_is_cut(epoll, whose->data) && !has_ours)) {
        next = ours_in_slots(whose, &one);
        is_one &= fd < 0 || next < 0 || fd == next;
        has_ours |= next >= 0;
        if (fd < 0 && next >= 0)
            *found = one;
        fd = fd < 0 ? next : fd;
    }
    if (has_ours && registered_data_is_cut(epoll, whose->data)) {
        whose->is_cut = true;
        while (is_one &&
               (next = registered_data_next_of_all(epoll, whose->data, &whose->turn_of_all, &one)) >= 0)
            is_one = fd == next;
    }
    if (fd < 0 && whose_is_ours(descriptor_of(event->data.fd)) &&
        registration_look_up(epoll, event->data.fd, found) && found->data == whose->data) {
        whose->asked[0].fd = event->data.fd; /* most programs register a descriptor under its own number */
        whose->asked[0].registration = *found;
        whose->asked_count = 1;
        return event->data.fd;
    }
    bool is_worth_asking = event->events & (EPOLLERR | EPOLLHUP) || !process_is_alone();
    if (fd < 0 && is_worth_asking && (is_overtaken || has_any()))
        return ask(whose, found);
    if (is_one)
        return fd;
    whose_again(whose);
    return has_ours || is_overtaken ? SEVERAL_MAY : NOBODY_KNOWN;
}

/* Is there anything to be hidden or to be put right, whosever it is? */
static bool has_any(void)
{
    const struct pending_head *head = pending_head;
    return atomic_load_explicit(&head->connects, memory_order_relaxed) | withhold_is_on() |
           atomic_load_explicit(&head->nudges, memory_order_relaxed);
}

/* The registration was not seen: it is told by another process, or by a call that is none of libc's. */
static int ask(struct whose *whose, struct registration *found)
{
    /* Again where it is there under a number that leads elsewhere: another thread may just be closing it. */
    for (unsigned looks = 0; looks < LOOKS_MAX && whose->asked_count == 0 && !whose->is_gone; looks++) {
        if (looks)
            sched_yield();
        whose->is_gone = true;
        if (!epoll_file_tell(whose->epoll, keep, whose))
            whose->is_gone = false;
    }
    if ((whose->asked_count == 0 && !whose->is_gone) || whose->asked_count == WHOSE_ASKED)
        segment_passed(PASSED_AMBIGUOUS); /* none that we could see to; or there may be more */
    if (whose->asked_count == 0)
        return NOBODY_KNOWN;
    *found = whose->asked[0].registration;
    return whose->asked_count == 1 ? whose->asked[0].fd : SEVERAL_MAY;
}

static void keep(int fd, bool is_there, const struct registration *registration, void *context)
{
    struct whose *whose = context;
    if (is_there)
        registration_note_asked(fd, registration);
    if (registration->data != whose->data)
        return;
    whose->is_gone = false;
    if (!is_there || whose->asked_count == WHOSE_ASKED)
        return;
    whose->asked[whose->asked_count].fd = fd;
    whose->asked[whose->asked_count++].registration = *registration;
}

int whose_else(struct whose *whose)
{
    struct registration found;
    whose_again(whose);
    return whose->asked_count == 0 && ask(whose, &found) != NOBODY_KNOWN && whose->asked_count > 1
               ? SEVERAL_MAY
               : NOBODY_KNOWN;
}

int whose_next(struct whose *whose, struct registration *found)
{
    if (whose->asked_count) {
        if (whose->turn == whose->asked_count)
            return -1;
        *found = whose->asked[whose->turn].registration;
        return whose->asked[whose->turn++].fd;
    }
    int fd = registered_data_next(whose->epoll, whose->data, &whose->turn, found);
    return fd >= 0 || !whose->is_cut
               ? fd
               : registered_data_next_of_all(whose->epoll, whose->data, &whose->turn_of_all, found);
}

void whose_again(struct whose *whose)
{
    whose->turn = whose->turn_of_all = 0;
}

bool whose_is_still(const struct whose *whose, int fd)
{
    struct registration now;
    return whose->asked_count || (registration_find(whose->epoll, fd, &now) && now.data == whose->data);
}

bool whose_is_ours(const struct descriptor *entry)
{
    if (!entry)
        return false;
    const struct pending *pending = pending_of(entry);
    return atomic_load_explicit(&entry->state, memory_order_relaxed) & (CONNECTING | CONNECT_ERROR_DUE) ||
           withheld_of(entry) || (pending && atomic_load_explicit(&pending->nudged, memory_order_relaxed));
}

/* The first of all that are ours to see to and are registered so. */
static int ours_in_slots(struct whose *whose, struct registration *found)
{
    uint32_t cursor = 0;
    for (struct pending *pending; (pending = pending_each(&cursor));) {
        bool is_ours = pending_is_connect(pending->phase) || withheld_of_slot(pending) ||
                       atomic_load_explicit(&pending->nudged, memory_order_relaxed);
        int fd = is_ours ? number_of(whose->epoll, pending, whose->data, found) : -1;
        if (fd >= 0)
            return fd;
    }
    return -1;
}

/* The number of that descriptor under which it is registered so. It may have several, and have had others. */
static int number_of(int epoll, const struct pending *pending, uint64_t data, struct registration *found)
{
    const struct descriptor *entry = atomic_load_explicit(&pending->entry, memory_order_relaxed);
    if (!entry)
        return -1;
    bool is_known = descriptor_of(pending->fd) == entry;
    if (is_known && is_with(epoll, pending->fd, data, found))
        return pending->fd;
    if (is_known && atomic_load_explicit(&entry->references, memory_order_relaxed) < 2)
        return -1;
    for (int fd = -1; (fd = descriptor_next_of(entry, (unsigned)fd + 1)) >= 0;)
        if (is_with(epoll, fd, data, found))
            return fd;
    return -1;
}

static bool is_with(int epoll, int fd, uint64_t data, struct registration *found)
{
    bool is_known = registration_is_unclear(fd) ? registration_look_up(epoll, fd, found)
                                                : registration_find(epoll, fd, found);
    return is_known && found->data == data;
}
