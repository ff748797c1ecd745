/* Options that a socket has of ours while it connects: the kernel's time for what is not acknowledged (drive/nudge.h), and
 * the minimum of hops of one that is parked (drive/park.h). The program sees its own values, and has them afterwards. */
#ifndef DRIVE_OWN_OPTION_H
#define DRIVE_OWN_OPTION_H

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "state/descriptors.h"

#ifndef IPV6_MINHOPCOUNT
#define IPV6_MINHOPCOUNT 73 /* linux/in6.h, which cannot be included beside netinet/in.h */
#endif

static inline bool own_option_concerns(const struct descriptor *entry, int level, int option)
{
    bool is_one = level == IPPROTO_TCP    ? option == TCP_USER_TIMEOUT
                  : level == IPPROTO_IP   ? option == IP_MINTTL
                  : level == IPPROTO_IPV6 ? option == IPV6_MINHOPCOUNT
                                          : false;
    return is_one && atomic_load_explicit(&entry->state, memory_order_relaxed) & CONNECTING;
}

/* As getsockopt and setsockopt. */
int own_option_get(struct descriptor *entry, int fd, int level, int option, void *value, socklen_t *length);
int own_option_set(struct descriptor *entry, int fd, int level, int option, const void *value,
                   socklen_t length);

#endif
