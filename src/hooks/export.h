/* For the files that define interposed functions, and for nothing else. */
#ifndef HOOKS_EXPORT_H
#define HOOKS_EXPORT_H

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
/* What only a guarded descriptor needs stays out of line, so that the path that everybody takes has no frame. */
#define GUARDED __attribute__((noinline))
#define RARE    __attribute__((noinline, cold))

/* Is the next function of the same name another copy of ours? Asked of fdopen, which makes no system call to say that
 * this is no mode and no descriptor. */
#define ARE_YOU_LIBRESIL "?libresil"
#define I_AM_LIBRESIL    ((FILE *)1)

/* The fortified forms, which no header declares. `room` is the size of the buffer as the compiler knew it. */
ssize_t __read_chk(int fd, void *data, size_t size, size_t room);
ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *data, size_t size, size_t room, int flags, struct sockaddr *address,
                       socklen_t *length);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask,
                size_t room);

#endif
