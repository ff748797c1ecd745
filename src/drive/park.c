#include "drive/park.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "drive/options.h"
#include "drive/own_option.h"
#include "drive/raw.h"
#include "hooks/real.h"

#define FARTHEST 255 /* no packet arrives with more hops left; loopback's default is 64 */

/* Loopback as the socket sees it: AF_INET, AF_INET6 or IPv4 on an AF_INET6 socket. */
struct nowhere {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    socklen_t length;
    int level, option;
};

static struct nowhere nowhere_like(const struct sockaddr *address)
{
    struct nowhere nowhere = {.level = IPPROTO_IP, .option = IP_MINTTL};
    if (address->sa_family == AF_INET) {
        nowhere.address.v4 =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        nowhere.length = sizeof nowhere.address.v4;
        return nowhere;
    }
    static const struct in6_addr mapped = {.s6_addr = {[10] = 0xff, 0xff, 127, 0, 0, 1}};
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    bool is_mapped = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
    nowhere.address.v6 =
        (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = is_mapped ? mapped : in6addr_loopback};
    nowhere.length = sizeof nowhere.address.v6;
    if (!is_mapped) {
        nowhere.level = IPPROTO_IPV6;
        nowhere.option = IPV6_MINHOPCOUNT;
    }
    return nowhere;
}

bool park(int fd, const struct sockaddr *address, int *saved_hops)
{
    struct nowhere nowhere = nowhere_like(address);
    int farthest = FARTHEST;
    socklen_t length = sizeof *saved_hops;
    if (!option_may_reach_loopback(fd))
        return false;
    if (real.getsockopt(fd, nowhere.level, nowhere.option, saved_hops, &length) != 0 || !raw_disconnect(fd))
        return false;
    if (real.setsockopt(fd, nowhere.level, nowhere.option, &farthest, sizeof farthest) != 0)
        return false;
    bool is_begun = raw_connect(fd, &nowhere.address.any, nowhere.length) != 0 && errno == EINPROGRESS;
    /* A refusal that counts comes at once. */
    if (is_begun && raw_poll(fd) == 0)
        return true;
    unpark(fd, address, *saved_hops);
    return false;
}

bool unpark(int fd, const struct sockaddr *address, int saved_hops)
{
    stay_parked(fd, address, saved_hops);
    return raw_disconnect(fd);
}

void stay_parked(int fd, const struct sockaddr *address, int saved_hops)
{
    struct nowhere nowhere = nowhere_like(address);
    real.setsockopt(fd, nowhere.level, nowhere.option, &saved_hops, sizeof saved_hops);
}

bool park_uses(const struct sockaddr *address, int level, int option)
{
    struct nowhere nowhere = nowhere_like(address);
    return nowhere.level == level && nowhere.option == option;
}
