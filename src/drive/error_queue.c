#include "drive/error_queue.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hooks/real.h"

#define ENTRIES_MAX 16

static bool is_wanted(int fd, int level, int option)
{
    int wanted = 0;
    socklen_t length = sizeof wanted;
    return real.getsockopt(fd, level, option, &wanted, &length) != 0 || wanted;
}

int error_queue_drain(int fd, const struct sockaddr *address)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    bool is_mapped = address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
    if ((address->sa_family != AF_INET && !is_mapped) || is_wanted(fd, IPPROTO_IP, IP_RECVERR) ||
        (is_mapped && is_wanted(fd, IPPROTO_IPV6, IPV6_RECVERR)))
        return 0;
    char control[256], data[64];
    int entries = 0;
    for (; entries < ENTRIES_MAX; entries++) {
        struct iovec part = {data, sizeof data};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        if (syscall(SYS_recvmsg, fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
            break;
    }
    return entries;
}
