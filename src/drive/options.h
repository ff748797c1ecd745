/* Socket options that we set, read and put back. errno is untouched. */
#ifndef DRIVE_OPTIONS_H
#define DRIVE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* SO_RCVTIMEO or SO_SNDTIMEO in ns; 0 = none. */
uint64_t option_get_timeout(int fd, int option);
void option_set_timeout(int fd, int option, uint64_t ns);

/* SO_COOKIE; 0 when it cannot be had. */
uint64_t option_cookie(int fd);

/* Not when it is bound to another device: the kernel takes every address for one on that device's link, and asks for it
 * there. */
bool option_may_reach_loopback(int fd);

/* The shorter of two timeouts, 0 meaning none. */
static inline uint64_t shorter(uint64_t a, uint64_t b)
{
    return !a ? b : !b ? a : a < b ? a : b;
}

#endif
