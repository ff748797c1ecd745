#include "drive/fault_peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "drive/connect.h"
#include "drive/nesting.h"
#include "drive/options.h"
#include "drive/raw.h"
#include "drive/readable.h"
#include "state/current.h"
#include "state/names.h"
#include "state/process.h"

static enum peer find(struct flow *flow, const struct sockaddr *address, socklen_t length,
                      struct fault_peer *peer);
static bool is_of(const struct flow_fault *here, const struct fault *fault);
static bool is_for(const struct fault *fault, const struct target *target, const struct flow *flow);
static void find_own_port(struct flow *flow, int fd);

void fault_unconnected(int fd, bool is_non_blocking)
{
    int error = errno;
    struct visit visit;
    const struct ruleset *rules = rules_enter(&visit);
    struct flow *flow = NULL;
    if (rules && faults_are_armed(rules) && !nesting_is_inside() && process_owns_memory())
        flow = flow_begin_unconnected(rules);
    if (flow) {
        uint64_t cookie = option_cookie(fd);
        struct host_handle none = {NULL, 0};
        struct descriptor *entry =
            cookie ? descriptor_adopt(fd, cookie, &guard_of_nothing, none, "udp") : NULL;
        if (entry) {
            entry->owner = process_id();
            atomic_store_explicit(&entry->state,
                                  MESSAGES | CONNECTIONLESS | (is_non_blocking ? NON_BLOCKING : 0),
                                  memory_order_release);
            flow_attach(entry, flow);
        } else {
            segment_passed(PASSED_NO_MEMORY);
            flow_end(flow);
        }
    }
    rules_leave(&visit);
    errno = error;
}

enum peer fault_peer_of_send(struct flow *flow, const struct transfer *transfer, struct fault_peer *peer)
{
    const struct msghdr *message = transfer->data;
    if (!flow->is_bound_known)
        find_own_port(flow, transfer->fd);
    switch (transfer->call) {
    case TRANSFER_SENDTO:
        return transfer->address ? find(flow, transfer->address, transfer->length, peer) : PEER_NONE;
    case TRANSFER_SENDMSG:
        if (!is_readable(message, sizeof *message) || !message->msg_name)
            return PEER_NONE;
        return find(flow, message->msg_name, message->msg_namelen, peer);
    default:
        return PEER_NONE;
    }
}

enum peer fault_peer_of_receive(struct flow *flow, struct descriptor *entry, const struct transfer *transfer,
                                bool may_wait, struct fault_peer *peer)
{
    int before = errno;
    uint64_t began_ns = clock_now_ns();
    if (!flow->is_bound_known)
        find_own_port(flow, transfer->fd);
    for (;;) {
        struct sockaddr_storage address;
        socklen_t length = sizeof address;
        if (syscall(SYS_recvfrom, transfer->fd, NULL, 0, MSG_PEEK | MSG_DONTWAIT, &address, &length) >= 0) {
            errno = before;
            return find(flow, (const struct sockaddr *)&address, length, peer);
        }
        /* An error that was pending has been taken from the socket: it is the program's. */
        if (errno != EAGAIN)
            return PEER_FAILED;
        errno = before;
        if (!may_wait)
            return PEER_NONE;
        if (!transfer_wait(entry, transfer, false, POLLIN, FAULT_NEVER, began_ns))
            return PEER_FAILED;
    }
}

static enum peer find(struct flow *flow, const struct sockaddr *address, socklen_t length,
                      struct fault_peer *peer)
{
    struct target target = {.name = NULL};
    char name[NAME_MAX_BYTES];
    struct visit visit;
    if (!target_of_sockaddr(address, length, &target))
        return PEER_NONE;
    target.protocol = PROTOCOL_UDP;
    if (names_find(&target.address, name))
        target.name = name;
    uint64_t wanted = 0;
    const struct ruleset *rules = rules_enter(&visit);
    for (uint32_t i = 0; rules && i < rules->fault_count; i++) {
        const struct fault *fault = &rules->faults[i];
        uint32_t number = 0;
        while (number < flow->count && !is_of(&flow->faults[number], fault))
            number++;
        if (number < flow->count && is_for(fault, &target, flow))
            wanted |= UINT64_C(1) << number;
    }
    rules_leave(&visit);
    if (!wanted)
        return PEER_NONE;
    peer->without = ~wanted;
    target_text(&target, peer->text, sizeof peer->text);
    return PEER_FOUND;
}

/* The flow may be given back meanwhile, where another thread closes the socket. */
static bool is_of(const struct flow_fault *here, const struct fault *fault)
{
    const struct armed_fault *armed = *(struct armed_fault *const volatile *)&here->fault;
    return armed && armed->params.identity == fault->params.identity;
}

/* By the port of the other end; by that of a server only where ports are named, so that the safety of port 53 holds. */
static bool is_for(const struct fault *fault, const struct target *target, const struct flow *flow)
{
    struct target served = *target;
    served.port = flow->local_port;
    bool is_at_peer = fault_matches(fault, target, process_program());
    if (!flow->is_bound)
        return is_at_peer;
    bool is_at_server = fault_matches(fault, &served, process_program());
    return fault->match.port_count ? is_at_peer || is_at_server : is_at_peer && is_at_server;
}

/* Before anything was sent, only the program can have given it one. */
static void find_own_port(struct flow *flow, int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    struct target own;
    int error = errno;
    if (getsockname(fd, (struct sockaddr *)&address, &length) == 0 &&
        target_of_sockaddr((const struct sockaddr *)&address, length, &own) && own.port) {
        flow->local_port = own.port;
        flow->is_bound = true;
    }
    flow->is_bound_known = true;
    errno = error;
}
