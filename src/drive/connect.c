#include "drive/connect.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "drive/datagram.h"
#include "drive/degrade.h"
#include "drive/fault_connect.h"
#include "drive/nesting.h"
#include "drive/readable.h"
#include "drive/readiness.h"
#include "drive/throttle.h"
#include "drive/transfer.h"
#include "drive/unix.h"
#include "hooks/real.h"
#include "policy/random.h"
#include "state/current.h"
#include "state/descriptors.h"
#include "state/faults.h"
#include "state/process.h"
#include "state/recent.h"
#include "state/tally.h"

typedef int (*pass_through)(int fd, __CONST_SOCKADDR_ARG address, socklen_t length);
static int leave_unmade(int fd, __CONST_SOCKADDR_ARG address, socklen_t length);
static int connect_under(const struct ruleset *rules, const struct visit *visit, int fd,
                         const struct sockaddr *address, socklen_t length, uintptr_t caller,
                         pass_through pass);
static int connect_under_faults(struct connecting *call);
static int connect_under_rule(struct connecting *call, bool is_in_flight);
/* How far a descriptor has got: a second connect on one that is on its way or there is answered by the kernel alone. */
enum progress { FREE, IN_FLIGHT, CONNECTED };

static bool find_target(struct connecting *call, const struct ruleset *rules);
static bool find_host(struct connecting *call, const struct ruleset *rules, uint64_t *until_ns);
static bool find_other_host(struct connecting *call, const struct ruleset *rules, uint64_t *until_ns);
static inline uint64_t open_until(struct connecting *call, const struct policy *policy,
                                  struct host_handle host);
static void connect_in_earnest(int fd);
static enum socket_kind kind_of(int fd);
static int option_of(int fd, int option);
static enum progress progress_of(int fd, const struct sockaddr *address, socklen_t length);
static bool is_non_blocking(int fd);
static int reject(struct connecting *call, uint64_t until_ns);
static int reject_to_ladder(struct connecting *call, uint64_t until_ns);
static int go_ahead(struct connecting *call);
static void make_ready(struct connecting *call);
static int pass_non_blocking(struct connecting *call);
static bool has_policy(const struct policy *policy);
static bool is_drawn(uint32_t ratio_ppm);

int drive_connect(int fd, const struct sockaddr *address, socklen_t length, uintptr_t caller)
{
    struct visit visit;
    const struct ruleset *rules = rules_enter(&visit);
    if (!rules) {
        if (rules_are_coming() && !nesting_is_inside())
            segment_passed(PASSED_LOADING);
        return real.connect(fd, address, length);
    }
    int result = connect_under(rules, &visit, fd, address, length, caller, real.connect);
    rules_leave(&visit);
    return result;
}

int drive_connect_for_send(int fd, const struct sockaddr *address, socklen_t length, bool may_wait,
                           uintptr_t caller)
{
    struct visit visit;
    const struct ruleset *rules = rules_enter(&visit);
    if (!rules && rules_are_coming() && !nesting_is_inside())
        segment_passed(PASSED_LOADING);
    if (!rules)
        return CONNECT_NOT_MADE;
    int result = CONNECT_NOT_MADE;
    if (kind_of(fd) == SOCKET_TCP && (may_wait || is_non_blocking(fd)))
        result = connect_under(rules, &visit, fd, address, length, caller, leave_unmade);
    else if (descriptor_kind(fd) == SOCKET_TCP)
        segment_passed(PASSED_NON_BLOCKING);
    rules_leave(&visit);
    return result;
}

static int leave_unmade(int fd, __CONST_SOCKADDR_ARG address, socklen_t length)
{
    (void)fd, (void)address, (void)length;
    return CONNECT_NOT_MADE;
}

/* What no rule and no fault is for is made by `pass`. */
static int connect_under(const struct ruleset *rules, const struct visit *visit, int fd,
                         const struct sockaddr *address, socklen_t length, uintptr_t caller,
                         pass_through pass)
{
    if (nesting_is_inside())
        return pass(fd, address, length);
    struct descriptor *entry = descriptor_of(fd);
    int result;
    if (entry &&
        atomic_load_explicit(&entry->state, memory_order_acquire) & (CONNECTING | CONNECT_ERROR_DUE) &&
        readiness_connect_again(fd, entry, address, length, &result))
        return result;
    enum progress progress = progress_of(fd, address, length);
    if (progress == CONNECTED)
        return pass(fd, address, length);

    struct connecting call;
    call.fd = fd;
    call.address = address;
    call.length = length;
    call.rules = rules;
    call.host.host = NULL; /* not known yet */
    call.cookie = 0;
    call.flow = NULL;
    call.begun_ns = visit->entered_ns;
    bool is_target = find_target(&call, rules);
    if (descriptor_of(fd)) {
        if (is_target && throttle_is_known(fd))
            return pass(fd, address, length);
        if (progress == IN_FLIGHT && fault_is_silent(descriptor_of(fd)))
            return pass(fd, address, length); /* the program asks how it is going */
        /* Connecting again: what was known of an earlier connection on this descriptor no longer holds. */
        transfer_hand_over(fd);
        transfer_let_go_of_socket(fd);
    }
    if (__builtin_expect(rules->fault_count != 0, 0) && call.kind > SOCKET_OTHER && progress == FREE &&
        faults_are_armed(rules))
        fault_flow(&call, caller);
    if (is_target)
        result = connect_under_rule(&call, progress == IN_FLIGHT);
    else
        result = call.flow ? connect_under_faults(&call) : pass(fd, address, length);
    if (call.flow)
        fault_connected(&call, result);
    return result;
}

/* No rule is for it. */
static int connect_under_faults(struct connecting *call)
{
    call->host = (struct host_handle){NULL, 0};
    connect_text(call);
    call->is_fresh = descriptor_note(call->fd) & SOCKET_FRESH;
    call->is_blocking = call->is_fresh || !is_non_blocking(call->fd);
    call->note = descriptor_note_begun(call->fd);
    int result = fault_connect(call);
    if (result != 0 && errno != EINPROGRESS && errno != EINTR)
        descriptor_note_without(call->fd, SOCKET_BEGUN);
    return result;
}

static int connect_under_rule(struct connecting *call, bool is_in_flight)
{
    uint64_t open_until_ns;
    if (!find_host(call, call->rules, &open_until_ns))
        return call->flow ? connect_under_faults(call) : real.connect(call->fd, call->address, call->length);
    host_count(call->host, HOST_CALLS);
    const struct policy *policy = &call->rule->policy;
    call->verdict = BREAKER_ADMIT;
    call->ticket = (struct breaker_ticket){0, false};
    call->is_shadow = policy->enforce_ppm < PPM_ONE && !is_drawn(policy->enforce_ppm);
    /* No system call up to here, but a look at the shared state once a second: this is what an open circuit costs. */
    call->is_in_flight = is_in_flight;
    if (open_until_ns && !call->is_shadow && !call->is_in_flight)
        return __builtin_expect(policy->ladder != NULL, 0) ? reject_to_ladder(call, open_until_ns)
                                                           : reject(call, open_until_ns);
    return go_ahead(call);
}

/* Apart from what an open circuit costs. */
static __attribute__((noinline)) int go_ahead(struct connecting *call)
{
    make_ready(call);
    bool has_ladder = degrade_is_for(call);
    if (has_ladder && (degrade_sticks(call) || degrade_is_led(call)))
        return degrade_connect(call);
    if (!call->is_shadow && !connect_admit(call))
        return call->is_exhausted && has_ladder ? degrade_connect(call) : -1;
    call->note = descriptor_note_begun(call->fd);
    if (call->is_shadow)
        return shadow_connect(call);
    if (call->kind == SOCKET_UDP)
        return datagram_connect(call);
    bool is_ours = call->kind != SOCKET_UNIX_DATAGRAM && !call->is_in_flight;
    if (!call->is_blocking && !call->turn_ns)
        return is_ours ? readiness_connect(call) : pass_non_blocking(call);
    int result = call->turn_ns ? readiness_queue(call) : blocking_connect(call);
    return result != 0 && call->is_exhausted && has_ladder ? degrade_connect(call) : result;
}

/* Its rule may have something else to serve it with. */
static __attribute__((noinline)) int reject_to_ladder(struct connecting *call, uint64_t until_ns)
{
    make_ready(call);
    reject(call, until_ns);
    return degrade_is_for(call) ? degrade_connect(call) : -1;
}

/* It will be carried out. */
static inline void make_ready(struct connecting *call)
{
    call->begun_ns = call->started_ns = clock_now_ns();
    call->error_before = errno;
    call->is_exhausted = call->is_limited = call->is_led = call->is_falling = call->has_place = false;
    call->turn_ns = 0;
    call->seed = process_next_seed_at(call->begun_ns);
    connect_text(call);
    if (descriptor_note(call->fd) & SOCKET_FASTOPEN)
        connect_in_earnest(call->fd);
    call->is_fresh = descriptor_note(call->fd) & SOCKET_FRESH;
    call->is_blocking = call->is_fresh || !is_non_blocking(call->fd);
}

bool connect_admit(struct connecting *call)
{
    const struct policy *policy = &call->rule->policy;
    if (!throttle_admit(call))
        return false;
    if (call->turn_ns) /* the circuit is asked when it is its turn */
        return true;
    /* Nobody follows what becomes of these: such a call cannot be the probe. */
    bool is_followed = call->is_blocking || call->kind != SOCKET_UNIX_DATAGRAM;
    if (!policy->breaker.is_on || call->is_in_flight || !is_followed)
        return true;
    struct breaker_answer state = breakers_admit(call->host, &policy->breaker.params, call->started_ns);
    if (state.verdict == BREAKER_REJECT) {
        throttle_leave(call);
        reject(call, state.until_ns);
        call->is_exhausted = true;
        return false;
    }
    call->verdict = state.verdict;
    call->ticket = state.ticket;
    if (call->verdict == BREAKER_PROBE) {
        host_count(call->host, HOST_PROBES);
        struct event event = event_about(EVENT_PROBE, call->text);
        tell(&event);
    }
    return true;
}

bool target_of_sockaddr(const struct sockaddr *address, socklen_t length, struct target *target)
{
    if (length < sizeof(struct sockaddr_in) || !is_readable(address, length))
        return false;
    if (address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        /* In two stores, as it is read: smaller ones would have to reach the cache first. */
        uint64_t mapped[2] = {0, htobe64(0xffff00000000 | be32toh(v4->sin_addr.s_addr))};
        memcpy(target->address.bytes, mapped, sizeof mapped);
        target->port = ntohs(v4->sin_port);
    } else if (address->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        memcpy(target->address.bytes, &v6->sin6_addr, 16);
        target->port = ntohs(v6->sin6_port);
    } else {
        return false; /* another family, or AF_UNSPEC: a disconnect */
    }
    target->has_address = true;
    target->protocol = PROTOCOL_TCP;
    target->path = NULL;
    return true;
}

void connect_text(struct connecting *call)
{
    /* The table of hosts has it ready. It is shared memory, so it ends where we say. */
    size_t length = call->host.host ? strnlen(call->host.host->target, sizeof call->text) : 0;
    if (length && length < sizeof call->text) {
        memcpy(call->text, call->host.host->target, length);
        call->text[length] = '\0';
    } else {
        target_text(&call->target, call->text, sizeof call->text);
    }
}

void connect_report(struct host_handle host, const char *target, const struct breaker_params *params,
                    int error, struct breaker_ticket ticket, enum breaker_report report, uint64_t seed,
                    bool is_shadow)
{
    static const enum event_kind kinds[] = {[BREAKER_OPENED] = EVENT_OPENED,
                                            [BREAKER_REOPENED] = EVENT_REOPENED,
                                            [BREAKER_RECOVERED] = EVENT_CLOSED};
    uint32_t failures = 0;
    tally_settle(); /* they came before this */
    uint64_t now = clock_now_ns();
    struct breaker_change change = breakers_ended(host, params, ticket, report, seed, now, &failures);
    if (change.transition == BREAKER_STAYED)
        return;
    if (change.transition != BREAKER_RECOVERED)
        host_count(host, HOST_OPENINGS);
    struct event event = event_about(kinds[change.transition], target);
    event.time_ns = now;
    event.delay_ns = change.until_ns > now ? change.until_ns - now : 0;
    event.error = error == CONNECT_LADDER ? 0 : error;
    event.count = failures;
    event.flags = (is_shadow ? EVENT_SHADOW : 0) | (error == CONNECT_LADDER ? EVENT_LADDER : 0);
    tell(&event);
}

/* The target as rules see it, and its rule. False: there is none that would do anything. */
static bool find_target(struct connecting *call, const struct ruleset *rules)
{
    call->target.name = NULL;
    call->kind = SOCKET_UNKNOWN;
    uint32_t protocols = rules->protocols | rules->fault_protocols;
    if (target_of_sockaddr(call->address, call->length, &call->target)) {
        call->kind = kind_of(call->fd);
        if (call->kind == SOCKET_UDP)
            call->target.protocol = PROTOCOL_UDP;
        else if (call->kind != SOCKET_TCP && option_of(call->fd, SO_TYPE) != SOCK_STREAM)
            return false;
        if (names_find(&call->target.address, call->name))
            call->target.name = call->name;
    } else if (protocols & PROTOCOL_BIT(PROTOCOL_UNIX) && is_readable(call->address, call->length) &&
               call->address->sa_family == AF_UNIX && unix_path(call->address, call->length, call->name)) {
        call->kind = kind_of(call->fd);
        if (call->kind < SOCKET_UNIX)
            return false;
        call->target.has_address = false;
        call->target.port = 0;
        call->target.protocol = PROTOCOL_UNIX;
        call->target.path = call->name;
    } else {
        return false;
    }
    call->rule = recent_find(rules, &call->target, &call->host, call->begun_ns);
    if (!call->rule) {
        call->rule = ruleset_find(rules, &call->target, process_program());
        if (!call->rule || !has_policy(&call->rule->policy))
            return false;
    }
    /* MPTCP and SCTP connect differently. */
    if (call->kind == SOCKET_OTHER)
        segment_passed(PASSED_NOT_TCP);
    return call->kind != SOCKET_OTHER;
}

/* A connect that only begins with the first send tells nothing, and what is sent with it could not be sent again. The
 * kernel itself falls back to this where the host has not agreed to a fast open before. */
static void connect_in_earnest(int fd)
{
    int error = errno, off = 0;
    real.setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &off, sizeof off);
    errno = error;
}

/* The place of the target, and until when its circuit is open; 0: it is not. Where it is in doubt which name the address
 * is meant by, it is open only if the circuits of all of them are. False: by one of them no rule is for it. */
static bool find_host(struct connecting *call, const struct ruleset *rules, uint64_t *until_ns)
{
    if (!call->host.host) {
        call->host = hosts_find(call->rule, &call->target, call->begun_ns);
        recent_remember(rules, &call->target, call->rule, call->host);
    }
    *until_ns = open_until(call, &call->rule->policy, call->host);
    return !*until_ns || !call->target.name || find_other_host(call, rules, until_ns);
}

/* The coarse clock, which is at most some ms late and costs a quarter, does unless the time is about to come. */
static inline __attribute__((always_inline)) uint64_t
open_until(struct connecting *call, const struct policy *policy, struct host_handle host)
{
    if (!policy->breaker.is_on)
        return 0;
    uint64_t until_ns = breakers_open_until(host, &policy->breaker.params, call->begun_ns);
    if (!until_ns || until_ns > call->begun_ns + COARSE_NS)
        return until_ns;
    call->begun_ns = clock_now_ns();
    return breakers_open_until(host, &policy->breaker.params, call->begun_ns);
}

static __attribute__((noinline)) bool find_other_host(struct connecting *call, const struct ruleset *rules,
                                                      uint64_t *until_ns)
{
    char others[NAMES_MAX][NAME_MAX_BYTES];
    unsigned count = names_others(&call->target.address, call->name, others);
    for (unsigned i = 0; i < count; i++) {
        struct target target = call->target;
        target.name = others[i];
        const struct rule *rule = ruleset_find(rules, &target, process_program());
        if (!rule || !has_policy(&rule->policy))
            return false;
        struct host_handle host = hosts_find(rule, &target, call->begun_ns);
        if (open_until(call, &rule->policy, host))
            continue;
        memcpy(call->name, others[i], sizeof call->name);
        call->rule = rule;
        call->host = host;
        *until_ns = 0;
        return true;
    }
    return true;
}

static enum socket_kind kind_of(int fd)
{
    enum socket_kind kind = descriptor_kind(fd);
    if (kind != SOCKET_UNKNOWN)
        return kind;
    int protocol = option_of(fd, SO_PROTOCOL);
    if (protocol == IPPROTO_TCP)
        kind = SOCKET_TCP;
    else if (protocol == IPPROTO_UDP)
        kind = SOCKET_UDP;
    else if (option_of(fd, SO_DOMAIN) != AF_UNIX)
        kind = SOCKET_OTHER;
    else
        kind = option_of(fd, SO_TYPE) == SOCK_STREAM      ? SOCKET_UNIX
               : option_of(fd, SO_TYPE) == SOCK_SEQPACKET ? SOCKET_UNIX_SEQPACKET
                                                          : SOCKET_UNIX_DATAGRAM;
    if (protocol >= 0 && process_owns_memory()) {
        descriptor_note_kind(fd, kind);
        descriptor_note_unseen(fd);
    }
    return kind;
}

/* -1: it has none. errno is untouched. */
static int option_of(int fd, int option)
{
    int error = errno, value = -1;
    socklen_t length = sizeof value;
    if (real.getsockopt(fd, SOL_SOCKET, option, &value, &length) != 0)
        value = -1;
    errno = error;
    return value;
}

static enum progress progress_of(int fd, const struct sockaddr *address, socklen_t length)
{
    bool has_begun = descriptor_of(fd) || descriptor_note(fd) & SOCKET_BEGUN;
    if (!has_begun || length < sizeof address->sa_family || !is_readable(address, length) ||
        address->sa_family == AF_UNSPEC)
        return FREE;
    int error = errno;
    enum progress progress = FREE;
    struct tcp_info info;
    struct sockaddr peer;
    socklen_t info_length = sizeof info, peer_length = sizeof peer;
    switch (descriptor_kind(fd)) {
    case SOCKET_TCP:
        if (real.getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &info_length) == 0 &&
            info.tcpi_state != TCP_CLOSE)
            progress = info.tcpi_state == TCP_SYN_SENT ? IN_FLIGHT : CONNECTED;
        break;
    case SOCKET_UNIX:
    case SOCKET_UNIX_SEQPACKET:
        progress = real.getpeername(fd, &peer, &peer_length) == 0 ? CONNECTED : FREE;
        break;
    default: /* datagrams are only told another address */
        break;
    }
    errno = error;
    return progress;
}

static bool is_non_blocking(int fd)
{
    if (descriptor_note(fd) & SOCKET_UNBLOCKED)
        return true;
    int error = errno;
    int flags = real.fcntl(fd, F_GETFL, 0);
    errno = error;
    return flags < 0 || flags & O_NONBLOCK;
}

static int reject(struct connecting *call, uint64_t until_ns)
{
    uint32_t count = breakers_rejected(call->host, call->begun_ns);
    if (count) {
        connect_text(call);
        int error = degrade_is_for(call) ? 0 : call->rule->policy.breaker.error;
        connect_tell_rejected(call->host, call->text, error, until_ns, count);
    }
    errno = call->rule->policy.breaker.error;
    return -1;
}

void connect_tell_rejected(struct host_handle host, const char *target, int error, uint64_t until_ns,
                           uint32_t count)
{
    struct event event = event_about(EVENT_REJECTED, target);
    event.time_ns = clock_now_ns();
    event.delay_ns = until_ns > event.time_ns ? until_ns - event.time_ns : 0;
    event.error = error;
    event.count = count;
    event.flags = breakers_probing(host);
    tell(&event);
}

static int pass_non_blocking(struct connecting *call)
{
    segment_passed(PASSED_NON_BLOCKING);
    int result = call->flow ? fault_connect(call) : real.connect(call->fd, call->address, call->length);
    if (result == 0 || errno == EINPROGRESS)
        throttle_keep(call);
    else
        throttle_leave(call);
    if (result != 0 && errno != EINPROGRESS && errno != EALREADY && errno != EISCONN)
        descriptor_note_without(call->fd, SOCKET_BEGUN);
    return result;
}

static bool has_policy(const struct policy *policy)
{
    return policy->breaker.is_on || policy->retry.is_on || policy->timeout.connect_ns ||
           policy->timeout.response_ns || policy->timeout.recv_ns || policy->timeout.send_ns ||
           policy->timeout.total_ns || policy->limit.is_on || policy->ladder;
}

static bool is_drawn(uint32_t ratio_ppm)
{
    struct random random = {process_next_seed()};
    return random_chance(&random, ratio_ppm);
}
