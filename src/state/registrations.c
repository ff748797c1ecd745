#include "state/registrations.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>

#include "state/descriptors.h"
#include "state/epoll_files.h"
#include "state/more_registrations.h"
#include "state/registered_data.h"

#define SEVERAL       REGISTERED_WITH_SEVERAL
#define BEING_WRITTEN (-2) /* with what the kernel has said, by a thread that has blocked signals */
#define KEPT_DISARMED (EPOLLERR | EPOLLHUP | EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP)
#define YIELDS_MAX    20000u /* that takes a few instructions; who does it may be out of the processor */

HOT struct registration *registration_table = NULL;
HOT unsigned registration_limit = 0;
unsigned registration_end;
#define RECENT 4u
#define ASKED  1000u /* turns: first those that are known, then what the kernel says of recent ones */
static int32_t recent[RECENT]; /* epolls that the program waits in: numbers + 1 */
static unsigned recent_turn;
static bool has_unkept; /* ever: of what is with several epolls not all could be kept */

#define UNSEEN 8u
static int32_t unseen[UNSEEN]; /* epolls with registrations from before there was a table: numbers + 1 */
static unsigned unseen_count;

static void note_unseen(int epoll);
static bool has_place(int fd);
static int32_t epoll_of(int fd);
static __attribute__((noinline, cold)) void note_several(int epoll, int operation, int fd,
                                                         const struct epoll_event *event);
static __attribute__((noinline, cold)) bool open_table(void);

void registration_note(int epoll, int operation, int fd, const struct epoll_event *event)
{
    if (!descriptor_limit && operation != EPOLL_CTL_DEL)
        note_unseen(epoll);
    if (!has_place(fd))
        return;
    struct registration *known = &registration_table[fd];
    int32_t mine = epoll + 1, other = epoll_of(fd);
    if (operation == EPOLL_CTL_DEL) {
        if (other == mine)
            __atomic_store_n(&known->epoll, 0, __ATOMIC_RELEASE);
        else if (other == SEVERAL)
            more_registrations_end(epoll, fd);
        return;
    }
    if (other && other != mine) {
        note_several(epoll, operation, fd, event);
        return;
    }
    __atomic_store_n(&known->events, event->events, __ATOMIC_RELAXED);
    __atomic_store_n(&known->data, event->data.u64, __ATOMIC_RELAXED);
    __atomic_store_n(&known->epoll, mine, __ATOMIC_RELEASE);
    if (event->data.u64 != (uint64_t)fd && event->data.fd != fd)
        registered_data_remember(epoll, fd, event->data.u64);
}

/* The first one is kept with the others, unless another thread takes it out just now. What is with several epolls stays so until
 * its number is closed, be there only one left. */
static void note_several(int epoll, int operation, int fd, const struct epoll_event *event)
{
    struct registration *known = &registration_table[fd], first;
    struct registration one = {.epoll = epoll + 1, .events = event->events, .data = event->data.u64};
    int32_t there = epoll_of(fd);
    bool is_kept = true;
    if (there == 0 || there == epoll + 1) {
        registration_note(epoll, operation, fd, event);
        return;
    }
    if (there != SEVERAL) {
        is_kept = registration_find(there - 1, fd, &first) && more_registrations_keep(fd, &first);
        if (!__atomic_compare_exchange_n(&known->epoll, &there, SEVERAL, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_RELAXED)) {
            if (is_kept)
                more_registrations_end(first.epoll - 1, fd);
            note_several(epoll, operation, fd, event);
            return;
        }
    }
    if (!more_registrations_keep(fd, &one) || !is_kept) {
        registered_data_cut(); /* by their data these are not known */
        __atomic_store_n(&has_unkept, true, __ATOMIC_RELAXED);
    }
    if (one.data != (uint64_t)fd && event->data.fd != fd)
        registered_data_remember(epoll, fd, one.data);
}

void registration_undo(int epoll, int fd, const struct epoll_event *event, const struct registration *before)
{
    struct registration now;
    int32_t mine = epoll + 1;
    bool is_noted =
        registration_find(epoll, fd, &now) && now.events == event->events && now.data == event->data.u64;
    if (is_noted && before->epoll == mine)
        registration_note(epoll, EPOLL_CTL_ADD, fd,
                          &(struct epoll_event){.events = before->events, .data.u64 = before->data});
    else if (is_noted && epoll_of(fd) == SEVERAL)
        more_registrations_end(epoll, fd);
    else if (is_noted)
        __atomic_compare_exchange_n(&registration_table[fd].epoll, &mine, 0, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_RELAXED);
}

static bool has_place(int fd)
{
    if ((unsigned)fd >= registration_limit &&
        ((unsigned)fd >= descriptor_limit || !open_table() || (unsigned)fd >= registration_limit))
        return false;
    unsigned end = __atomic_load_n(&registration_end, __ATOMIC_RELAXED);
    while (end <= (unsigned)fd && !__atomic_compare_exchange_n(&registration_end, &end, (unsigned)fd + 1,
                                                               false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        ;
    return true;
}

static int32_t epoll_of(int fd)
{
    int32_t epoll;
    for (unsigned yields = 0;
         (epoll = __atomic_load_n(&registration_table[fd].epoll, __ATOMIC_ACQUIRE)) == BEING_WRITTEN &&
         yields < YIELDS_MAX;
         yields++)
        sched_yield();
    return epoll == BEING_WRITTEN ? 0 : epoll;
}

void registration_forget(int fd)
{
    int32_t there;
    if ((unsigned)fd >= registration_limit ||
        !(there = __atomic_load_n(&registration_table[fd].epoll, __ATOMIC_RELAXED)))
        return;
    __atomic_store_n(&registration_table[fd].epoll, 0, __ATOMIC_RELEASE);
    if (__builtin_expect(there == SEVERAL, 0))
        more_registrations_forget(fd);
}

bool registration_find(int epoll, int fd, struct registration *found)
{
    if ((unsigned)fd >= registration_limit)
        return false;
    int32_t there = __atomic_load_n(&registration_table[fd].epoll, __ATOMIC_ACQUIRE);
    if (there != epoll + 1)
        return there == SEVERAL && more_registrations_find(epoll, fd, found);
    found->epoll = epoll + 1;
    found->events = __atomic_load_n(&registration_table[fd].events, __ATOMIC_RELAXED);
    found->data = __atomic_load_n(&registration_table[fd].data, __ATOMIC_RELAXED);
    return true;
}

bool registration_known(int fd, unsigned *turn, struct registration *found)
{
    int32_t there = (unsigned)fd < registration_limit
                        ? __atomic_load_n(&registration_table[fd].epoll, __ATOMIC_ACQUIRE)
                        : 0;
    if (there == SEVERAL)
        return more_registrations_each(fd, turn, found);
    if (there <= 0 || *turn || !registration_find(there - 1, fd, found))
        return false;
    *turn = 1;
    return true;
}

bool registration_is_unclear(int fd)
{
    return (unsigned)fd < registration_limit && __atomic_load_n(&has_unkept, __ATOMIC_RELAXED) &&
           __atomic_load_n(&registration_table[fd].epoll, __ATOMIC_RELAXED) == SEVERAL;
}

bool registration_look_up(int epoll, int fd, struct registration *found)
{
    if (registration_find(epoll, fd, found))
        return true;
    if (!epoll_file_find(epoll, fd, found))
        return false;
    registration_note_asked(fd, found);
    return true;
}

/* Another thread may have noted something newer since the kernel was asked, or do so now: that stays. And one that is disarmed does
 * not tell all of what it was for. */
void registration_note_asked(int fd, const struct registration *found)
{
    int32_t none = 0, mine = BEING_WRITTEN;
    if ((found->events & EPOLLONESHOT && !(found->events & ~KEPT_DISARMED)) || !has_place(fd))
        return;
    struct registration *known = &registration_table[fd];
    int32_t there = epoll_of(fd);
    if (there && there != found->epoll) {
        struct epoll_event event = {.events = found->events, .data.u64 = found->data};
        registration_note(found->epoll - 1, EPOLL_CTL_ADD, fd, &event);
        return;
    }
    if (!__atomic_compare_exchange_n(&known->epoll, &none, BEING_WRITTEN, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return;
    __atomic_store_n(&known->events, found->events, __ATOMIC_RELAXED);
    __atomic_store_n(&known->data, found->data, __ATOMIC_RELAXED);
    bool is_mine = __atomic_compare_exchange_n(&known->epoll, &mine, found->epoll, false, __ATOMIC_ACQ_REL,
                                               __ATOMIC_RELAXED);
    if (is_mine && found->data != (uint64_t)fd && (int)(uint32_t)found->data != fd)
        registered_data_remember(found->epoll - 1, fd, found->data);
}

static void note_unseen(int epoll)
{
    unsigned count = __atomic_load_n(&unseen_count, __ATOMIC_ACQUIRE);
    for (unsigned i = 0; i < count && i < UNSEEN; i++)
        if (__atomic_load_n(&unseen[i], __ATOMIC_RELAXED) == epoll + 1)
            return;
    count = __atomic_fetch_add(&unseen_count, 1, __ATOMIC_ACQ_REL);
    if (count < UNSEEN)
        __atomic_store_n(&unseen[count], epoll + 1, __ATOMIC_RELEASE);
}

static void note_one_asked(int fd, bool is_there, const struct registration *registration, void *unused)
{
    (void)unused;
    if (is_there)
        registration_note_asked(fd, registration);
}

/* What was registered with it before rules were in force. */
static __attribute__((noinline)) void learn(int epoll)
{
    unsigned count = __atomic_load_n(&unseen_count, __ATOMIC_ACQUIRE);
    for (unsigned i = 0; i < count && i < UNSEEN; i++) {
        int32_t mine = epoll + 1;
        if (__atomic_load_n(&unseen[i], __ATOMIC_RELAXED) == mine &&
            __atomic_compare_exchange_n(&unseen[i], &mine, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            epoll_file_tell(epoll, note_one_asked, NULL);
    }
}

void registration_waits_in(int epoll)
{
    if (__atomic_load_n(&unseen_count, __ATOMIC_RELAXED))
        learn(epoll);
    for (unsigned i = 0; i < RECENT; i++)
        if (__atomic_load_n(&recent[i], __ATOMIC_RELAXED) == epoll + 1)
            return;
    unsigned at = __atomic_fetch_add(&recent_turn, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&recent[at % RECENT], epoll + 1, __ATOMIC_RELAXED);
}

bool registration_each(int fd, unsigned *turn, struct registration *found)
{
    if (*turn < ASKED && registration_known(fd, turn, found))
        return true;
    if (*turn && *turn < ASKED && !registration_is_unclear(fd))
        return false;
    for (*turn = *turn < ASKED ? ASKED : *turn; *turn < ASKED + RECENT;) {
        int epoll = __atomic_load_n(&recent[(*turn)++ - ASKED], __ATOMIC_RELAXED) - 1;
        if (epoll >= 0 && registration_look_up(epoll, fd, found))
            return true;
    }
    return false;
}

static bool open_table(void)
{
    if (__atomic_load_n(&registration_limit, __ATOMIC_ACQUIRE))
        return true;
    int error = errno;
    unsigned size = descriptor_limit;
    size_t bytes = size * sizeof *registration_table, all_bytes = bytes + REGISTERED_DATA_BYTES;
    char *memory =
        mmap(NULL, all_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = error;
    if (memory == MAP_FAILED)
        return false;
    struct registration *none = NULL;
    if (!__atomic_compare_exchange_n(&registration_table, &none, (struct registration *)memory, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        munmap(memory, all_bytes);
    registered_data_begin((char *)registration_table + bytes);
    __atomic_store_n(&registration_limit, size, __ATOMIC_RELEASE);
    return true;
}
