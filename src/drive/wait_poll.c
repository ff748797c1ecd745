#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "drive/raw.h"
#include "drive/readable.h"
#include "drive/readiness.h"
#include "drive/transfer.h"
#include "drive/waits.h"
#include "drive/withhold.h"
#include "hooks/real.h"
#include "state/segment.h"

#define FEW 96

struct poll_wait {
    struct wait wait;
    struct pollfd *fds;
    nfds_t count;
    /* What is asked for instead while something is withheld. The program's own array is left as it is: it may jump out of
     * its wait. */
    struct pollfd *copy;
    bool is_shown; /* there is no memory for that: the truth */
    struct pollfd few[FEW];
};

static struct pollfd *ask_for_less(struct poll_wait *mine);
static void leave_out(struct pollfd *asked, unsigned withheld, bool is_in_vain);
static bool make_copy(struct poll_wait *mine);
static int find_overdue(struct poll_wait *mine, bool is_shown);

static bool has(const struct waiter *waiter, int fd)
{
    const struct poll_wait *mine = (const struct poll_wait *)waiter;
    for (nfds_t i = 0; i < mine->count; i++)
        if (mine->fds[i].fd == fd && mine->fds[i].events & (POLLIN | POLLRDNORM))
            return true;
    return false;
}

static int make(struct wait *wait, uint64_t until_ns, const sigset_t *mask)
{
    struct poll_wait *mine = (struct poll_wait *)wait;
    struct timespec left;
    struct pollfd *asked = withhold_is_on() ? ask_for_less(mine) : mine->fds;
    bool has_overdue = pending_shows_overdue() && find_overdue(mine, false);
    int ready = real.ppoll(asked, mine->count, wait_left(wait, has_overdue ? 0 : until_ns, &left), mask);
    for (nfds_t i = 0; asked != mine->fds && i < mine->count && ready >= 0; i++)
        mine->fds[i].revents = asked[i].revents;
    return has_overdue && ready >= 0 ? ready + find_overdue(mine, true) : ready;
}

/* Datagrams whose answers did not come: of that the kernel shows nothing. How many there are; shown, how many more
 * descriptors are ready with them. */
static int find_overdue(struct poll_wait *mine, bool is_shown)
{
    int count = 0;
    if (!is_readable(mine->fds, mine->count * sizeof *mine->fds))
        return 0;
    for (nfds_t i = 0; i < mine->count; i++) {
        struct pollfd *one = &mine->fds[i];
        unsigned seen = deadline_overdue(one->fd, (unsigned short)one->events);
        if (!seen)
            continue;
        count += !is_shown || !one->revents;
        if (is_shown)
            one->revents = (short)(one->revents | (short)seen);
    }
    return count;
}

/* The program's array, or a copy without what is withheld. */
static struct pollfd *ask_for_less(struct poll_wait *mine)
{
    bool is_less = false;
    if (!is_readable(mine->fds, mine->count * sizeof *mine->fds))
        return mine->fds; /* the kernel will say so */
    for (nfds_t i = 0; i < mine->count; i++) {
        struct descriptor *entry = descriptor_of(mine->fds[i].fd);
        unsigned withheld = entry ? withheld_of(entry) : 0;
        if (!withheld || !transfer_is_same(entry, mine->fds[i].fd))
            continue;
        if (!is_less && !make_copy(mine))
            return mine->fds;
        is_less = true;
        leave_out(&mine->copy[i], withheld, mine->wait.is_in_vain);
    }
    return is_less ? mine->copy : mine->fds;
}

static void leave_out(struct pollfd *asked, unsigned withheld, bool is_in_vain)
{
    asked->events &= (short)~withheld;
    /* The kernel reports failures though nobody asks. */
    bool is_failed = is_in_vain && withheld & (POLLERR | POLLHUP) &&
                     !(raw_poll(asked->fd) & (unsigned short)asked->events);
    if (!asked->events || is_failed)
        asked->fd = -1;
}

static bool make_copy(struct poll_wait *mine)
{
    size_t size = mine->count * sizeof *mine->fds;
    if (mine->is_shown)
        return false;
    if (!mine->copy && mine->count <= FEW)
        mine->copy = mine->few;
    if (!mine->copy) {
        int error = errno;
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        errno = error;
        mine->is_shown = memory == MAP_FAILED;
        if (mine->is_shown) {
            segment_passed(PASSED_NO_MEMORY);
            return false;
        }
        mine->copy = memory;
    }
    memcpy(mine->copy, mine->fds, size);
    return true;
}

static int sift(struct wait *wait, int ready)
{
    struct poll_wait *mine = (struct poll_wait *)wait;
    for (nfds_t i = 0, seen = 0; i < mine->count && seen < (nfds_t)ready; i++) {
        struct pollfd *asked = &mine->fds[i];
        if (!asked->revents)
            continue;
        struct descriptor *entry = descriptor_of(asked->fd);
        if (!(asked->revents & POLLNVAL) && !mine->is_shown)
            asked->revents = (short)wait_sift(wait, asked->fd, entry, (unsigned short)asked->revents,
                                              (unsigned short)asked->events);
        if (asked->revents)
            seen++;
        else
            ready--;
    }
    return ready;
}

int wait_poll(struct pollfd *fds, nfds_t count, uint64_t deadline_ns, const sigset_t *mask, int ready)
{
    struct poll_wait wait;
    wait.wait = (struct wait){
        .waiter.has = has, .make = make, .sift = sift, .deadline_ns = deadline_ns, .mask = mask};
    wait.fds = fds;
    wait.count = count;
    wait.copy = NULL;
    wait.is_shown = false;
    ready = wait_carry_out(&wait.wait, ready);
    if (wait.copy && wait.copy != wait.few)
        munmap(wait.copy, count * sizeof *fds); /* errno stays: it succeeds */
    return ready;
}
