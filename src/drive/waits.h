/* The waits of the program (poll, select, epoll) carry out what is due (state/pending.h), and show the program only what
 * it may see.
 *
 * Where nothing is pending they go straight to libc; another thread may begin something meanwhile, so the table is looked
 * at once more after each wait. */
#ifndef DRIVE_WAITS_H
#define DRIVE_WAITS_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "drive/deadline.h"
#include "drive/transfer.h"

/* One wait. */
struct wait {
    struct waiter waiter;
    /* Makes the real wait until then, under that mask (NULL: as it is). Returns as the wait does. */
    int (*make)(struct wait *wait, uint64_t until_ns, const sigset_t *mask);
    /* Takes out what the program must not see of the `ready` that were found; how many are left. */
    int (*sift)(struct wait *wait, int ready);
    bool was_open;        /* signals were let in while the last real wait lasted, and after it */
    bool is_in_vain;      /* all that the last real wait has found was taken out */
    uint32_t changes;     /* of connects, until it began */
    uint64_t deadline_ns; /* the program's own; NEVER = none */
    uint64_t now_ns;      /* when the real wait was about to begin */
    const sigset_t *mask; /* of the p-forms; NULL = the thread's */
};

/* Carries the wait out; `ready` is what a first real wait, which let signals in, has found already (errno counts for -1),
 * or NOT_YET. */
int wait_carry_out(struct wait *wait, int ready);

/* What the program may see of what the last real wait has found of a descriptor (`seen`, POLL...): readiness_sift, unless
 * `entry` is NULL. Only of a failure that is not over by now: another thread may have ended the attempt in success. */
unsigned wait_sift(const struct wait *wait, int fd, struct descriptor *entry, unsigned seen, unsigned asked);

/* Has a connect begun or ended since that wait began? */
bool wait_is_overtaken(const struct wait *wait);

/* When a wait began, if not then. */
#define BEGINS_NOW 0
/* The point in time so many milliseconds after it; NEVER for a negative number. */
uint64_t wait_deadline_ms(int timeout_ms, uint64_t began_ns);
/* The same for a time to wait; NULL: NEVER. */
uint64_t wait_deadline(const struct timespec *timeout, uint64_t began_ns);

/* How long to wait until then, for the kernel: NULL for NEVER, never rounded down. */
const struct timespec *wait_left(const struct wait *wait, uint64_t until_ns, struct timespec *left);

int wait_poll(struct pollfd *fds, nfds_t count, uint64_t deadline_ns, const sigset_t *mask, int ready);
/* How many descriptors the kernel looks at, of so many. */
int wait_select_count(int count);
/* `left`, if not NULL, gets the time that is left, as Linux has it. Only for sets that fit. */
bool wait_select_fits(int count, const fd_set *reads, const fd_set *writes, const fd_set *excepts);
int wait_select(int count, fd_set *reads, fd_set *writes, fd_set *excepts, struct timeval *left,
                uint64_t deadline_ns, const sigset_t *mask);
/* `is_exact`: the program asks for epoll_pwait2 itself, which libc or the kernel may not have; that is its answer then. */
int wait_epoll(int epoll, struct epoll_event *events, int count, uint64_t deadline_ns, const sigset_t *mask,
               bool is_exact, int ready);

#endif
