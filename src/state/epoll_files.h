/* What the kernel says of the registrations with an epoll (/proc/self/fdinfo): system calls, and as slow as the epoll is large.
 * errno is untouched. */
#ifndef STATE_EPOLL_FILES_H
#define STATE_EPOLL_FILES_H

#include "state/registrations.h"

/* The registration of `fd`. False: there is none. One that is disarmed does not tell what it was for. */
bool epoll_file_find(int epoll, int fd, struct registration *found);

/* All of them. `is_there`: the number still leads to what was registered; else that was closed while a copy of it lives on. False:
 * they cannot be read, or (before Linux 4.13) not be told apart. */
typedef void epoll_file_each(int fd, bool is_there, const struct registration *registration, void *context);
bool epoll_file_tell(int epoll, epoll_file_each *each, void *context);

#endif
