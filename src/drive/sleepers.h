/* Which other threads are asleep in a wait of the program: the kernel says so (/proc/self/task).
 *
 * Waits do not count themselves: that would cost each of them, and is asked rarely. A thread that was about to fall asleep
 * when it was asked is awake to the kernel, so those count as somebody who may be. */
#ifndef DRIVE_SLEEPERS_H
#define DRIVE_SLEEPERS_H

enum {
    ASLEEP_IN_EPOLL = 1,
    ASLEEP_ELSEWHERE = 2, /* in poll or select */
    MAY_BE_ASLEEP = 4,
};

/* What holds of the other threads. Where it cannot be told, or there are many of them, all of it. Not for a thread that is
 * alone (process_is_alone). errno stays. */
unsigned sleepers_look(void);

#endif
