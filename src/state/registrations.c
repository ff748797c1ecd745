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

#define SEVERAL (-1)

#define PLACES_BITS 14
#define PLACES_EACH 4u /* where one may be, from its home on */
#define PLACES      ((1u << PLACES_BITS) + PLACES_EACH)

HOT struct registration *registration_table = NULL;
static int32_t *places; /* by epoll and data: a number + 1, or 0 */
HOT unsigned registration_limit = 0;
#define RECENT 4u
static int32_t recent[RECENT]; /* epolls that the program waits in: numbers + 1 */
static unsigned recent_turn;
static bool has_several; /* ever: by their data these are not known */

static uint32_t home_of(int epoll, uint64_t data);
static bool is_taken(uint32_t place, int32_t there);
static void remember_data(int epoll, int fd, uint64_t data);

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
        return;
    }
    if (other && other != mine) {
        __atomic_store_n(&has_several, true, __ATOMIC_RELAXED);
        __atomic_store_n(&known->epoll, SEVERAL, __ATOMIC_RELEASE);
        return;
    }
    __atomic_store_n(&known->events, event->events, __ATOMIC_RELAXED);
    __atomic_store_n(&known->data, event->data.u64, __ATOMIC_RELAXED);
    __atomic_store_n(&known->epoll, mine, __ATOMIC_RELEASE);
    if (event->data.u64 != (uint64_t)fd && event->data.fd != fd)
        remember_data(epoll, fd, event->data.u64);
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
        __atomic_load_n(&has_several, __ATOMIC_RELAXED))
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
    int32_t epoll = there ? __atomic_load_n(&registration_table[there - 1].epoll, __ATOMIC_ACQUIRE) : 0;
    uint64_t data = there ? __atomic_load_n(&registration_table[there - 1].data, __ATOMIC_RELAXED) : 0;
    return epoll > 0 && place - home_of(epoll - 1, data) < PLACES_EACH;
}

void registration_forget(int fd)
{
    if ((unsigned)fd < registration_limit && __atomic_load_n(&registration_table[fd].epoll, __ATOMIC_RELAXED))
        __atomic_store_n(&registration_table[fd].epoll, 0, __ATOMIC_RELEASE);
}

bool registration_find(int epoll, int fd, struct registration *found)
{
    if ((unsigned)fd >= registration_limit ||
        __atomic_load_n(&registration_table[fd].epoll, __ATOMIC_ACQUIRE) != epoll + 1)
        return false;
    found->epoll = epoll + 1;
    found->events = __atomic_load_n(&registration_table[fd].events, __ATOMIC_RELAXED);
    found->data = __atomic_load_n(&registration_table[fd].data, __ATOMIC_RELAXED);
    return true;
}

bool registration_only(int fd, struct registration *found)
{
    int32_t epoll = (unsigned)fd < registration_limit
                        ? __atomic_load_n(&registration_table[fd].epoll, __ATOMIC_ACQUIRE)
                        : 0;
    return epoll > 0 && registration_find(epoll - 1, fd, found);
}

bool registration_is_several(int fd)
{
    return (unsigned)fd < registration_limit &&
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
    /* One that is disarmed does not tell all of what it was for, and another thread may be about to note it itself. */
    struct epoll_event event = {.events = found->events, .data.u64 = found->data};
    if (!(found->events & EPOLLONESHOT))
        registration_note(epoll, EPOLL_CTL_ADD, fd, &event);
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
    if (*turn == 0 && registration_only(fd, found)) {
        *turn = RECENT;
        return true;
    }
    while (*turn < RECENT) {
        int epoll = __atomic_load_n(&recent[(*turn)++], __ATOMIC_RELAXED) - 1;
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
