#include "state/whereabouts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

/* By so much the two clocks may seem to differ: ticks come late on a busy machine. A time namespace whose clock is no
 * further off than that would do no harm. */
#define TICKS_LATE_MS 1000

/* The wall clock may have been set by so much since the machine started. A machine takes longer to start again. */
#define CLOCKS_APART_S 3

struct passed {
    uint64_t pid_namespace, time_namespace, proc_device, ahead_ms;
};

static uint64_t proc_device(void);
static bool is_own_number(void);
static uint64_t ahead_ms(void);
static bool read_passed(const char *text, struct passed *passed);

void whereabouts_find(struct whereabouts *here)
{
    whereabouts_find_namespaces(here);
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ssize_t got = read(file, here->boot_id, sizeof here->boot_id - 1);
        if (got > 0)
            here->boot_id[got] = '\0';
        close(file);
    }
}

void whereabouts_find_namespaces(struct whereabouts *here)
{
    memset(here, 0, sizeof *here);
    struct stat status;
    if (stat("/proc/self/ns/pid", &status) == 0)
        here->pid_namespace = status.st_ino;
    if (stat("/proc/self/ns/time", &status) == 0)
        here->time_namespace = status.st_ino;
}

bool whereabouts_are_of_one_life(const char written[40], const char here[40], const struct stat *status)
{
    if (written[0] && here[0])
        return memcmp(written, here, 40) == 0;
    struct timespec now, up;
    if (!status || clock_gettime(CLOCK_REALTIME, &now) != 0 || clock_gettime(CLOCK_BOOTTIME, &up) != 0)
        return true;
    return status->st_ctim.tv_sec + CLOCKS_APART_S >= now.tv_sec - up.tv_sec;
}

bool whereabouts_pass_on(char text[WHEREABOUTS_BYTES])
{
    struct whereabouts here;
    whereabouts_find_namespaces(&here);
    uint64_t device = proc_device();
    if (!here.pid_namespace || !here.time_namespace || !device || !is_own_number())
        return false;
    struct text said = text_begin(text, WHEREABOUTS_BYTES);
    text_add(&said, "%lx-%lx-%lx-%lx", (unsigned long)here.pid_namespace, (unsigned long)here.time_namespace,
             (unsigned long)device, (unsigned long)ahead_ms());
    return true;
}

bool whereabouts_take(const char *text, struct whereabouts *here)
{
    struct passed passed;
    int error = errno;
    bool is_so = read_passed(text, &passed) && passed.pid_namespace && passed.time_namespace &&
                 passed.proc_device && ahead_ms() - passed.ahead_ms + TICKS_LATE_MS <= 2 * TICKS_LATE_MS &&
                 proc_device() == passed.proc_device && is_own_number();
    errno = error;
    if (!is_so)
        return false;
    memset(here, 0, sizeof *here);
    here->pid_namespace = passed.pid_namespace;
    here->time_namespace = passed.time_namespace;
    return true;
}

/* Each /proc that is mounted has a device of its own. 0: there is none. */
static uint64_t proc_device(void)
{
    struct stat status;
    return stat("/proc", &status) == 0 ? status.st_dev : 0;
}

static bool is_own_number(void)
{
    char link[24], own[24];
    struct text text = text_begin(own, sizeof own);
    text_add(&text, "%d", (int)getpid());
    ssize_t length = readlink("/proc/self", link, sizeof link);
    return length == (ssize_t)text.length && memcmp(link, own, text.length) == 0;
}

/* How far CLOCK_MONOTONIC, which a time namespace shifts, is ahead of the count of ticks, which it does not. The kernel
 * makes the one of the other, so they never drift apart. Modulo 2^64. */
static uint64_t ahead_ms(void)
{
    uint64_t ticks_per_s = getauxval(AT_CLKTCK);
    uint64_t tick_ms = ticks_per_s && ticks_per_s <= 1000 ? 1000 / ticks_per_s : 10;
    return clock_now_ns() / NS_PER_MS - (uint64_t)times(NULL) * tick_ms;
}

static bool read_passed(const char *text, struct passed *passed)
{
    uint64_t *numbers[] = {&passed->pid_namespace, &passed->time_namespace, &passed->proc_device,
                           &passed->ahead_ms};
    for (unsigned i = 0; i < 4; i++, text++) {
        const char *first = text;
        *numbers[i] = 0;
        for (; (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'f'); text++)
            *numbers[i] = *numbers[i] << 4 | (uint64_t)(*text <= '9' ? *text - '0' : *text - 'a' + 10);
        if (text == first || text - first > 16 || *text != (i < 3 ? '-' : '\0'))
            return false;
    }
    return true;
}
