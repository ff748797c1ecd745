#include "drive/sleepers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/text.h"
#include "drive/signals.h"

#define LOOKS_MAX  32 /* each is a file that is opened and read */
#define ANY        (ASLEEP_IN_EPOLL | ASLEEP_ELSEWHERE | MAY_BE_ASLEEP)
#define IS_DECIDED ASLEEP_IN_EPOLL /* more of it would not be asked for */

/* As the kernel gives them (getdents64). */
struct entry {
    uint64_t file_number;
    int64_t next;
    uint16_t size;
    uint8_t type;
    char name[];
};

static unsigned look_at_some(int folder, const char *entries, long size, unsigned *looks);
static unsigned look_at(int folder, const char *thread);
static unsigned meaning_of(const char *said);
static bool is_thread_number(const char *name, long *number);

unsigned sleepers_look(void)
{
    int error = errno;
    sigset_t mask;
    _Alignas(struct entry) char entries[1024];
    unsigned seen = 0, looks = 0;
    signals_block(&mask); /* a handler may jump out, and what is open would stay so */
    int folder = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long got = -1;
    while (folder >= 0 && !(seen & IS_DECIDED) &&
           (got = syscall(SYS_getdents64, folder, entries, sizeof entries)) > 0)
        seen |= look_at_some(folder, entries, got, &looks);
    if (folder >= 0)
        syscall(SYS_close, folder);
    signals_restore(&mask);
    errno = error;
    return got < 0 ? ANY : seen;
}

static unsigned look_at_some(int folder, const char *entries, long size, unsigned *looks)
{
    unsigned seen = 0;
    long own = syscall(SYS_gettid), number;
    for (long at = 0; at < size && !(seen & IS_DECIDED);) {
        const struct entry *entry = (const struct entry *)(entries + at);
        at += entry->size;
        if (!is_thread_number(entry->name, &number) || number == own)
            continue;
        seen |= ++*looks > LOOKS_MAX ? ANY : look_at(folder, entry->name);
    }
    return seen;
}

static unsigned look_at(int folder, const char *thread)
{
    char path[32], said[24];
    struct text text = text_begin(path, sizeof path);
    text_add(&text, "%s/syscall", thread);
    int file = (int)syscall(SYS_openat, folder, path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return ANY;
    ssize_t got = syscall(SYS_read, file, said, sizeof said - 1);
    syscall(SYS_close, file);
    if (got <= 0)
        return errno == ESRCH ? 0 : ANY; /* it has ended */
    said[got] = 0;
    return meaning_of(said);
}

/* The number of the system call and its arguments; "running" instead. */
static unsigned meaning_of(const char *said)
{
    long number = 0;
    if (said[0] == 'r')
        return MAY_BE_ASLEEP;
    for (const char *at = said; *at >= '0' && *at <= '9'; at++)
        number = 10 * number + (*at - '0');
    switch (number) {
#ifdef SYS_epoll_wait
    case SYS_epoll_wait:
#endif
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
        return ASLEEP_IN_EPOLL;
#ifdef SYS_poll
    case SYS_poll:
    case SYS_select:
#endif
    case SYS_ppoll:
    case SYS_pselect6:
        return ASLEEP_ELSEWHERE;
    default:
        return 0; /* "-1": not in a system call, and not running: stopped */
    }
}

static bool is_thread_number(const char *name, long *number)
{
    *number = 0;
    for (; *name >= '0' && *name <= '9'; name++)
        *number = 10 * *number + (*name - '0');
    return *number && !*name;
}
