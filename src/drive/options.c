#include "drive/options.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "hooks/real.h"

uint64_t option_get_timeout(int fd, int option)
{
    int error = errno;
    struct timeval value = {0, 0};
    socklen_t length = sizeof value;
    real.getsockopt(fd, SOL_SOCKET, option, &value, &length);
    errno = error;
    return ns_of_timeval(value);
}

void option_set_timeout(int fd, int option, uint64_t ns)
{
    int error = errno;
    struct timeval value = timeval_of_ns(ns);
    real.setsockopt(fd, SOL_SOCKET, option, &value, sizeof value);
    errno = error;
}

uint64_t option_cookie(int fd)
{
    int error = errno;
    uint64_t cookie = 0;
    socklen_t length = sizeof cookie;
    if (real.getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) != 0)
        cookie = 0;
    errno = error;
    return cookie;
}

bool option_may_reach_loopback(int fd)
{
    int error = errno;
    char device[IFNAMSIZ] = "";
    socklen_t length = sizeof device;
    bool is_bound =
        real.getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &length) == 0 && device[0] != '\0';
    errno = error;
    return !is_bound || strncmp(device, "lo", sizeof device) == 0;
}
