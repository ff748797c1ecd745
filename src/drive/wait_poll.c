#include <errno.h>

#include "drive/readiness.h"
#include "drive/waits.h"
#include "hooks/real.h"

struct poll_wait {
    struct wait wait;
    struct pollfd *fds;
    nfds_t count;
};

static bool has(const struct waiter *waiter, int fd)
{
    const struct poll_wait *mine = (const struct poll_wait *)waiter;
    for (nfds_t i = 0; i < mine->count; i++)
        if (mine->fds[i].fd == fd)
            return mine->fds[i].events & POLLIN;
    return false;
}

static int make(struct wait *wait, uint64_t until_ns, const sigset_t *mask)
{
    struct poll_wait *mine = (struct poll_wait *)wait;
    struct timespec left;
    return real.ppoll(mine->fds, mine->count, wait_left(wait, until_ns, &left), mask);
}

static int sift(struct wait *wait, int ready)
{
    struct poll_wait *mine = (struct poll_wait *)wait;
    for (nfds_t i = 0, seen = 0; i < mine->count && seen < (nfds_t)ready; i++) {
        struct pollfd *asked = &mine->fds[i];
        if (!asked->revents)
            continue;
        struct descriptor *entry = descriptor_of(asked->fd);
        if (entry && !(asked->revents & POLLNVAL))
            asked->revents = (short)readiness_sift(asked->fd, entry, (unsigned short)asked->revents,
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
    struct poll_wait wait = {
        .wait = {.waiter.has = has, .make = make, .sift = sift, .deadline_ns = deadline_ns, .mask = mask},
        .fds = fds,
        .count = count};
    return wait_carry_out(&wait.wait, ready);
}
