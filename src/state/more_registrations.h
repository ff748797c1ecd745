/* Registrations of descriptors that are with several epolls: all of them, where there is room. Few programs have any, so
 * memory is taken with the first. Lock-free, as whoever calls epoll_ctl may be in a signal handler. */
#ifndef STATE_MORE_REGISTRATIONS_H
#define STATE_MORE_REGISTRATIONS_H

#include "state/registrations.h"

/* Keeps that registration of `fd`, or what it is now. False: there is no room. */
bool more_registrations_keep(int fd, const struct registration *registration);

/* The descriptor is not registered with that epoll any more ... */
void more_registrations_end(int epoll, int fd);

/* ... or with none. */
void more_registrations_forget(int fd);

/* The registration of `fd` with that epoll. False: none is kept. */
bool more_registrations_find(int epoll, int fd, struct registration *found);

/* All that are kept of `fd`, one by one; `turn` is 0 at first, and only then where there is none. False: there are no more. */
bool more_registrations_each(int fd, unsigned *turn, struct registration *found);

#endif
