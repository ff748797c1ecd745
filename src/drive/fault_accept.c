#include "drive/fault_accept.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/un.h>

#include "base/clock.h"
#include "drive/connect.h"
#include "drive/faults.h"
#include "drive/nesting.h"
#include "drive/options.h"
#include "drive/signals.h"
#include "drive/unix.h"
#include "hooks/real.h"
#include "state/current.h"
#include "state/process.h"

/* Where a connection comes in, and from whom. */
struct accepted {
    struct target target;
    char path[NAME_MAX_BYTES];
    char text[56];
};

static bool fails(const struct ruleset *rules, const struct target *target, const char *text,
                  enum fault_operation operation, bool may_wait, uintptr_t caller);
static bool find_listener(int listener, struct accepted *accepted);
static bool find_peer(int fd, struct accepted *accepted);
static void adopt(int fd, const struct accepted *accepted, struct flow *flow);

bool fault_socket(uintptr_t caller)
{
    struct visit visit;
    const struct ruleset *rules = rules_enter(&visit);
    bool has_failed = rules && faults_are_armed(rules) && !nesting_is_inside() &&
                      fails(rules, NULL, "socket", FAULT_SOCKET, false, caller);
    rules_leave(&visit);
    return has_failed;
}

bool fault_accept(int listener, uintptr_t caller)
{
    struct visit visit;
    struct accepted accepted;
    const struct ruleset *rules = rules_enter(&visit);
    bool has_failed = rules && faults_are_armed(rules) && find_listener(listener, &accepted) &&
                      fails(rules, &accepted.target, accepted.text, FAULT_ACCEPT,
                            !(real.fcntl(listener, F_GETFL, 0) & O_NONBLOCK), caller);
    rules_leave(&visit);
    return has_failed;
}

void fault_accepted(int listener, int fd)
{
    int error = errno;
    struct visit visit;
    struct accepted accepted;
    const struct ruleset *rules = rules_enter(&visit);
    if (rules && faults_are_armed(rules) && process_owns_memory() && find_listener(listener, &accepted) &&
        find_peer(fd, &accepted)) {
        struct flow *flow =
            flow_begin(rules, &accepted.target, accepted.text, FAULT_ON(FAULT_SEND) | FAULT_ON(FAULT_RECV));
        if (flow)
            adopt(fd, &accepted, flow);
    }
    rules_leave(&visit);
    errno = error;
}

static bool fails(const struct ruleset *rules, const struct target *target, const char *text,
                  enum fault_operation operation, bool may_wait, uintptr_t caller)
{
    struct flow *flow = flow_begin(rules, target, text, FAULT_ON(operation));
    struct faulted faulted = {.may_wait = may_wait, .text = text};
    if (!flow)
        return false;
    bool has_failed = false;
    if (faults_begin(&faulted, flow, operation, caller, NULL)) {
        faults_end(&faulted);
        int error = errno;
        sigset_t mask;
        signals_block(&mask);
        if (faulted.plan.delay_ns &&
            signals_wait(-1, 0, clock_now_ns() + faulted.plan.delay_ns, &mask) == WAITED_INTERRUPTED) {
            has_failed = true;
            error = EINTR;
        } else if (faulted.plan.action == FAULT_FAIL) {
            has_failed = true;
            error = faulted.plan.error;
        }
        signals_restore(&mask);
        errno = error;
    }
    flow_end(flow);
    return has_failed;
}

/* The address that it listens on: the port, or the path. */
static bool find_listener(int listener, struct accepted *accepted)
{
    union {
        struct sockaddr any;
        struct sockaddr_un local;
        struct sockaddr_storage whole;
    } address = {.any.sa_family = AF_UNSPEC};
    socklen_t length = sizeof address;
    int error = errno;
    memset(&accepted->target, 0, sizeof accepted->target);
    bool is_known = getsockname(listener, &address.any, &length) == 0;
    errno = error;
    if (!is_known)
        return false;
    if (address.any.sa_family == AF_UNIX && unix_path(&address.any, length, accepted->path)) {
        accepted->target.protocol = PROTOCOL_UNIX;
        accepted->target.path = accepted->path;
    } else if (target_of_sockaddr(&address.any, length, &accepted->target)) {
        accepted->target.has_address = false;
    } else {
        return false;
    }
    target_text(&accepted->target, accepted->text, sizeof accepted->text);
    return true;
}

/* Who connects has an address; the port that counts is that of the server. */
static bool find_peer(int fd, struct accepted *accepted)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    uint16_t port = accepted->target.port;
    if (accepted->target.protocol == PROTOCOL_UNIX)
        return true;
    if (real.getpeername(fd, (struct sockaddr *)&address, &length) != 0 ||
        !target_of_sockaddr((const struct sockaddr *)&address, length, &accepted->target))
        return false;
    accepted->target.port = port;
    target_text(&accepted->target, accepted->text, sizeof accepted->text);
    return true;
}

static void adopt(int fd, const struct accepted *accepted, struct flow *flow)
{
    uint64_t cookie = option_cookie(fd);
    struct host_handle none = {NULL, 0};
    struct descriptor *entry =
        cookie ? descriptor_adopt(fd, cookie, &guard_of_nothing, none, accepted->text) : NULL;
    if (!entry) {
        segment_passed(PASSED_NO_MEMORY);
        flow_end(flow);
        return;
    }
    entry->owner = process_id();
    entry->own_recv_ns = option_get_timeout(fd, SO_RCVTIMEO); /* the listener's, at first */
    entry->own_send_ns = option_get_timeout(fd, SO_SNDTIMEO);
    bool is_blocking = !(real.fcntl(fd, F_GETFL, 0) & O_NONBLOCK);
    atomic_store_explicit(&entry->state, is_blocking ? 0 : NON_BLOCKING, memory_order_release);
    descriptor_note_kind(fd, accepted->target.protocol == PROTOCOL_UNIX ? SOCKET_UNIX : SOCKET_TCP);
    flow_attach(entry, flow);
}
