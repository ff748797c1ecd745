#include "state/registrations.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/text.h"
#include "state/descriptors.h"
#include "state/more_registrations.h"

#define SEVERAL REGISTERED_WITH_SEVERAL

#define PLACES_BITS 14
#define PLACES_EACH 4u /* where one may be, from its home on */
#define PLACES      ((1u << PLACES_BITS) + PLACES_EACH)

struct registration *registration_table;
static int32_t *places; /* by epoll and data: a number + 1, or 0 */
unsigned registration_limit;
#define RECENT 4u
#define ASKED  1000u /* turns: first those that are known, then what the kernel says of recent ones */
static int32_t recent[RECENT]; /* epolls that the program waits in: numbers + 1 */
static unsigned recent_turn;
static bool has_unkept; /* ever: of what is with several epolls not all could be kept */

static uint32_t home_of(int epoll, uint64_t data);
static bool is_taken(uint32_t place, int32_t there);
static void remember_data(int epoll, int fd, uint64_t data);

static __attribute__((noinline, cold)) void note_several(int epoll, int operation, int fd,
                                                         const struct epoll_event *event);
static __attribute__((noinline, cold)) bool open_table(void);

void registration_note(int epoll, int operation, int fd, const struct epoll_event *event)
{
    if ((unsigned)fd >= registration_limit &&
        ((unsigned)fd >= descriptor_limit || !open_table() || (unsigned)fd >= registration_limit))
        return;
    struct registration *known = &registration_table[fd];
    int32_t mine = epoll + 1, other = __atomic_load_n(&known->epoll, __ATOMIC_RELAXED);
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
        remember_data(epoll, fd, event->data.u64);
}

/* The first one is kept with the others, unless another thread takes it out just now. What is with several epolls stays so until
 * its number is closed, be there only one left. */
static void note_several(int epoll, int operation, int fd, const struct epoll_event *event)
{
    struct registration *known = &registration_table[fd], first;
    struct registration one = {.epoll = epoll + 1, .events = event->events, .data = event->data.u64};
    int32_t there = __atomic_load_n(&known->epoll, __ATOMIC_ACQUIRE);
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
    if (!more_registrations_keep(fd, &one) || !is_kept)
        __atomic_store_n(&has_unkept, true, __ATOMIC_RELAXED);
    if (one.data != (uint64_t)fd && event->data.fd != fd)
        remember_data(epoll, fd, one.data);
}

/* Places are never cleared: what is there may have gone, or be registered otherwise by now. Where all are taken it is not
 * remembered, and has to be looked for. */
static void remember_data(int epoll, int fd, uint64_t data)
{
    uint32_t home = home_of(epoll, data);
    int32_t *free = NULL;
    for (uint32_t i = 0; i < PLACES_EACH; i++) {
        int32_t *place = &places[home + i], there = __atomic_load_n(place, __ATOMIC_ACQUIRE);
        if (there == fd + 1)
            return;
        if (!is_taken(home + i, there))
            free = place;
    }
    if (free)
        __atomic_store_n(free, fd + 1, __ATOMIC_RELEASE);
}

int registration_by_data(int epoll, uint64_t data, struct registration *found)
{
    uint32_t home = home_of(epoll, data);
    int fd = REGISTRATION_UNCLEAR;
    if (!__atomic_load_n(&registration_limit, __ATOMIC_ACQUIRE) ||
        __atomic_load_n(&has_unkept, __ATOMIC_RELAXED))
        return REGISTRATION_UNCLEAR;
    for (uint32_t i = 0; i < PLACES_EACH; i++) {
        int32_t there = __atomic_load_n(&places[home + i], __ATOMIC_ACQUIRE);
        struct registration one;
        if (!there || !registration_find(epoll, there - 1, &one) || one.data != data)
            continue;
        if (fd >= 0)
            return REGISTRATION_UNCLEAR;
        fd = there - 1;
        *found = one;
    }
    return fd;
}

static uint32_t home_of(int epoll, uint64_t data)
{
    uint64_t mixed = (data ^ (uint64_t)(uint32_t)epoll << 40) * 0x9e3779b97f4a7c15;
    return (uint32_t)(mixed >> (64 - PLACES_BITS));
}

static bool is_taken(uint32_t place, int32_t there)
{
    struct registration one;
    unsigned turn = 0;
    while (there && registration_known(there - 1, &turn, &one))
        if (place - home_of(one.epoll - 1, one.data) < PLACES_EACH)
            return true;
    return false;
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

/* Lines of "tfd:       12 events:  19 data:  c  pos:0 ino:..."; numbers after `tfd:` are decimal, the others hexadecimal.
 * What was closed while a copy of it lives on keeps its line: of two with the same number the file tells which one is
 * meant. Linux before 4.13 does not say which file it is. */
struct scan {
    int wanted;
    uint64_t wanted_file;
    bool is_found, is_certain;
    struct registration found;
    enum { AT_LABEL, AT_NUMBER, SKIPPING } at;
    enum { OTHER, TFD, EVENTS, DATA, FILE_NUMBER } label;
    char word[8];
    unsigned length;
    int fd;
    uint64_t number;
    bool has_digits;
};

static unsigned digit_of(char c)
{
    return c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 99;
}

static void number_ended(struct scan *scan)
{
    if (scan->label == TFD)
        scan->fd = (int)scan->number;
    else if (scan->label == EVENTS && scan->fd == scan->wanted)
        scan->found.events = (uint32_t)scan->number;
    else if (scan->label == DATA && scan->fd == scan->wanted) {
        scan->found.data = scan->number;
        scan->is_found = true;
    } else if (scan->label == FILE_NUMBER && scan->fd == scan->wanted) {
        scan->is_found = scan->is_certain = scan->number == scan->wanted_file;
    }
    scan->label = OTHER;
    scan->length = 0;
    scan->at = AT_LABEL;
}

static void scan_byte(struct scan *scan, char c)
{
    if (scan->at == AT_NUMBER) {
        unsigned base = scan->label == TFD ? 10 : 16, digit = digit_of(c);
        if (digit < base) {
            scan->number = scan->number * base + digit;
            scan->has_digits = true;
        } else if (scan->has_digits) {
            number_ended(scan);
        }
        return;
    }
    if (c == ':') {
        static const struct {
            char word[8];
            unsigned length, label;
        } labels[] = {{"tfd", 3, TFD}, {"events", 6, EVENTS}, {"data", 4, DATA}, {"ino", 3, FILE_NUMBER}};
        for (unsigned i = 0; i < sizeof labels / sizeof *labels; i++) {
            unsigned same = 0;
            while (same < scan->length && scan->word[same] == labels[i].word[same])
                same++;
            if (same == scan->length && same == labels[i].length) {
                scan->label = labels[i].label;
                scan->at = AT_NUMBER;
                scan->number = 0;
                scan->has_digits = false;
            }
        }
        scan->length = 0;
    } else if (c == ' ' || c == '\n' || c == '\t') {
        scan->length = 0;
    } else if (scan->length < sizeof scan->word) {
        scan->word[scan->length++] = c;
    }
}

bool registration_look_up(int epoll, int fd, struct registration *found)
{
    if (registration_find(epoll, fd, found))
        return true;
    if (!registration_ask(epoll, fd, found))
        return false;
    /* One that is disarmed does not tell all of what it was for, and another thread may be about to note it itself. */
    struct epoll_event event = {.events = found->events, .data.u64 = found->data};
    if (!(found->events & EPOLLONESHOT))
        registration_note(epoll, EPOLL_CTL_ADD, fd, &event);
    return true;
}

bool registration_ask(int epoll, int fd, struct registration *found)
{
    int error = errno;
    char path[48], lines[512];
    struct text text = text_begin(path, sizeof path);
    text_add(&text, "/proc/self/fdinfo/%d", epoll);
    struct stat file_of;
    if (fstat(fd, &file_of) != 0) {
        errno = error;
        return false;
    }
    struct scan scan = {.wanted = fd, .wanted_file = file_of.st_ino, .fd = -1};
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t got;
    while (file >= 0 && !scan.is_certain && (got = syscall(SYS_read, file, lines, sizeof lines)) > 0)
        for (ssize_t i = 0; i < got && !scan.is_certain; i++)
            scan_byte(&scan, lines[i]);
    if (file >= 0)
        syscall(SYS_close, file);
    errno = error;
    if (!scan.is_found)
        return false;
    *found = scan.found;
    found->epoll = epoll + 1;
    return true;
}

void registration_waits_in(int epoll)
{
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
    size_t bytes = size * sizeof *registration_table, all_bytes = bytes + PLACES * sizeof *places;
    char *memory =
        mmap(NULL, all_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = error;
    if (memory == MAP_FAILED)
        return false;
    struct registration *none = NULL;
    if (!__atomic_compare_exchange_n(&registration_table, &none, (struct registration *)memory, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        munmap(memory, all_bytes);
    __atomic_store_n(&places, (int32_t *)(void *)((char *)registration_table + bytes), __ATOMIC_RELAXED);
    __atomic_store_n(&registration_limit, size, __ATOMIC_RELEASE);
    return true;
}
