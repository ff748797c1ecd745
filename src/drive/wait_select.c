#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "drive/raw.h"
#include "drive/readable.h"
#include "drive/readiness.h"
#include "drive/transfer.h"
#include "drive/waits.h"
#include "drive/withhold.h"
#include "hooks/real.h"
#include "state/segment.h"

#define COUNT_MAX 2048 /* descriptors whose sets fit on the stack three times */
#define WORD_BITS (8 * (int)sizeof(unsigned long))

enum which { READS, WRITES, EXCEPTS, SETS };

/* What each set is about, as the kernel sees it (POLLIN_SET and its kin). */
static const unsigned meanings[SETS] = {POLLIN | POLLHUP | POLLERR, POLLOUT | POLLERR, POLLPRI};

struct select_wait {
    struct wait wait;
    int count;
    unsigned long *sets[SETS]; /* the program's; NULL where it has none */
    unsigned long asked[SETS][COUNT_MAX / WORD_BITS];
};

static int find_overdue(struct select_wait *mine, bool is_shown);

static bool is_in(const unsigned long *set, int fd)
{
    return set && set[fd / WORD_BITS] >> fd % WORD_BITS & 1;
}

static size_t size_of_sets(const struct select_wait *mine)
{
    return (size_t)((mine->count + WORD_BITS - 1) / WORD_BITS) * sizeof(unsigned long);
}

static bool has(const struct waiter *waiter, int fd)
{
    const struct select_wait *mine = (const struct select_wait *)waiter;
    return fd < mine->count && mine->sets[READS] && is_in(mine->asked[READS], fd);
}

static unsigned long of_all(unsigned long *const sets[SETS], int first)
{
    unsigned long any = 0;
    for (int i = 0; i < SETS; i++)
        any |= sets[i] ? sets[i][first / WORD_BITS] : 0;
    return any;
}

/* Leaves out of the sets what is withheld. */
static void ask_for_less(struct select_wait *mine)
{
    for (int first = 0; first < mine->count; first += WORD_BITS) {
        for (unsigned long any = of_all(mine->sets, first); any; any &= any - 1) {
            int fd = first + __builtin_ctzl(any);
            struct descriptor *entry = descriptor_of(fd);
            unsigned withheld = entry ? withheld_of(entry) : 0;
            if (withheld && !transfer_is_same(entry, fd))
                continue;
            /* The kernel counts failures as both. */
            bool is_failed = mine->wait.is_in_vain && withheld & POLLERR && !(raw_poll(fd) & POLLOUT);
            for (int i = 0; withheld && i < SETS; i++)
                if (mine->sets[i] && (is_failed || withheld & meanings[i] & ~POLLERR))
                    mine->sets[i][fd / WORD_BITS] &= ~(1ul << fd % WORD_BITS);
        }
    }
}

/* The sets as the program gave them. */
static void ask(struct select_wait *mine)
{
    for (int i = 0; i < SETS; i++)
        if (mine->sets[i])
            memcpy(mine->sets[i], mine->asked[i], size_of_sets(mine));
}

static int make(struct wait *wait, uint64_t until_ns, const sigset_t *mask)
{
    struct select_wait *mine = (struct select_wait *)wait;
    struct timespec left;
    ask(mine);
    if (withhold_is_on())
        ask_for_less(mine);
    bool has_overdue = pending_shows_overdue() && find_overdue(mine, false);
    int ready =
        real.pselect(mine->count, (fd_set *)mine->sets[READS], (fd_set *)mine->sets[WRITES],
                     (fd_set *)mine->sets[EXCEPTS], wait_left(wait, has_overdue ? 0 : until_ns, &left), mask);
    return has_overdue && ready >= 0 ? ready + find_overdue(mine, true) : ready;
}

/* Datagrams whose answers did not come, among those that are to be read: of that the kernel shows nothing. How many; shown,
 * how many more bits are set. */
static int find_overdue(struct select_wait *mine, bool is_shown)
{
    int count = 0;
    for (int first = 0; mine->sets[READS] && first < mine->count; first += WORD_BITS) {
        for (unsigned long any = mine->asked[READS][first / WORD_BITS]; any; any &= any - 1) {
            int fd = first + __builtin_ctzl(any);
            if (fd >= mine->count || !deadline_overdue(fd, POLLIN))
                continue;
            count += !is_shown || !is_in(mine->sets[READS], fd);
            if (is_shown)
                mine->sets[READS][fd / WORD_BITS] |= 1ul << fd % WORD_BITS;
        }
    }
    return count;
}

/* Takes out of the sets what one descriptor must not show. How many bits that were. */
static int sift_one(struct select_wait *mine, int fd, struct descriptor *entry)
{
    unsigned seen = 0, asked = 0;
    int hidden = 0;
    for (int i = 0; i < SETS; i++) {
        seen |= is_in(mine->sets[i], fd) ? meanings[i] : 0;
        asked |= mine->sets[i] && is_in(mine->asked[i], fd) ? meanings[i] : 0;
    }
    seen = wait_sift(&mine->wait, fd, entry, seen, asked);
    for (int i = 0; i < SETS; i++) {
        if (!is_in(mine->sets[i], fd) || seen & meanings[i])
            continue;
        mine->sets[i][fd / WORD_BITS] &= ~(1ul << fd % WORD_BITS);
        hidden++;
    }
    return hidden;
}

static int sift(struct wait *wait, int ready)
{
    struct select_wait *mine = (struct select_wait *)wait;
    int hidden = 0;
    for (int first = 0; first < mine->count; first += WORD_BITS) {
        for (unsigned long any = of_all(mine->sets, first); any; any &= any - 1) {
            int fd = first + __builtin_ctzl(any);
            struct descriptor *entry = descriptor_of(fd);
            bool is_connecting =
                entry && atomic_load_explicit(&entry->state, memory_order_relaxed) & CONNECTING;
            if (is_connecting || wait_is_overtaken(wait) || (entry && withheld_of(entry)))
                hidden += sift_one(mine, fd, entry);
        }
    }
    return ready - hidden;
}

int wait_select(int count, fd_set *reads, fd_set *writes, fd_set *excepts, struct timeval *left,
                uint64_t deadline_ns, const sigset_t *mask)
{
    struct select_wait wait;
    wait.wait = (struct wait){
        .waiter.has = has, .make = make, .sift = sift, .deadline_ns = deadline_ns, .mask = mask};
    wait.count = count;
    fd_set *sets[SETS] = {reads, writes, excepts};
    for (int i = 0; i < SETS; i++) {
        wait.sets[i] = (unsigned long *)sets[i];
        if (sets[i])
            memcpy(wait.asked[i], sets[i], size_of_sets(&wait));
    }
    int ready = wait_carry_out(&wait.wait, NOT_YET);
    if (ready < 0)
        ask(&wait); /* one that fails leaves them alone, and programs wait for the same again */
    if (left) {
        uint64_t now = clock_now_ns();
        uint64_t rest_ns = deadline_ns > now ? deadline_ns - now : 0;
        left->tv_sec = (time_t)(rest_ns / NS_PER_S);
        left->tv_usec = (suseconds_t)(rest_ns % NS_PER_S / NS_PER_US);
    }
    return ready;
}

/* The kernel looks at no number beyond its table, and touches nothing of the sets there: who asks for getdtablesize() of them
 * has sets for fewer. It says how large the table is in a file. */
int wait_select_count(int count)
{
    if (count <= COUNT_MAX)
        return count;
    int error = errno;
    char text[512];
    int file = (int)syscall(SYS_openat, AT_FDCWD, "/proc/thread-self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : syscall(SYS_read, file, text, sizeof text - 1);
    if (file >= 0)
        raw_close(file);
    text[length > 0 ? length : 0] = 0;
    const char *digit = strstr(text, "\nFDSize:");
    int size = 0;
    if (digit)
        digit += sizeof "\nFDSize:"; /* and a tab */
    for (; digit && *digit >= '0' && *digit <= '9'; digit++)
        size = size < COUNT_MAX ? size * 10 + *digit - '0' : size;
    if (size > COUNT_MAX || size == 0)
        segment_passed(PASSED_NO_MEMORY); /* for the sets: a stack may be small */
    errno = error;
    return size > 0 && size <= COUNT_MAX ? size : count;
}

bool wait_select_fits(int count, const fd_set *reads, const fd_set *writes, const fd_set *excepts)
{
    if (count < 0 || count > COUNT_MAX)
        return false;
    size_t size = (size_t)(count + WORD_BITS - 1) / WORD_BITS * sizeof(unsigned long);
    return (!reads || is_readable(reads, size)) && (!writes || is_readable(writes, size)) &&
           (!excepts || is_readable(excepts, size));
}
