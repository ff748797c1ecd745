/* The program's own socket connected to this process itself: by a listener on loopback that exists for that moment. */
#ifndef DRIVE_MEETING_H
#define DRIVE_MEETING_H

#include <sys/socket.h>

#include "report/event.h"

/* `fd` is a TCP socket that is not connected; it will be. `like` is an address of the kind that it takes. Gives the other
 * end, which does not block; -1, and why there is none. errno is set as by whatever failed. */
int meet_on_loopback(int fd, const struct sockaddr *like, enum skipped_reason *why);

#endif
