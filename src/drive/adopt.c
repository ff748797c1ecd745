/* Guarded descriptors come and go. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "drive/exchange.h"
#include "drive/fault_connect.h"
#include "drive/throttle.h"
#include "drive/options.h"
#include "drive/readiness.h"
#include "drive/stand_in.h"
#include "drive/transfer.h"
#include "hooks/real.h"
#include "state/faults.h"
#include "state/process.h"
#include "state/tally.h"

static void take_options_off(const struct descriptor *entry, int fd);
static void put_options_on(struct descriptor *entry, int fd);

void transfer_adopt(struct connecting *call, bool holds_ticket)
{
    const struct policy *policy = &call->rule->policy;
    /* SO_SNDTIMEO has its value already: connect used it too. */
    if (!policy->timeout.recv_ns && !policy->timeout.send_ns && !connect_has_exchanges(call)) {
        throttle_keep(call);
        return; /* nothing to watch: the data path stays as it is */
    }
    const struct guard *guard = call->is_shadow ? guard_of_shadow(policy) : guard_of_rule(call->rule);
    uint64_t cookie = call->cookie ? call->cookie : option_cookie(call->fd);
    struct descriptor *entry =
        guard && cookie ? descriptor_adopt(call->fd, cookie, guard, call->host, call->text) : NULL;
    if (!entry) {
        segment_passed(PASSED_NO_MEMORY);
        throttle_leave(call);
        if (policy->timeout.send_ns && !call->is_shadow && call->is_blocking)
            option_set_timeout(call->fd, SO_SNDTIMEO, call->own_send_ns);
        if (holds_ticket) /* nobody will report later: connected is the best that is known */
            connect_report(call->host, call->text, &policy->breaker.params, policy->breaker.error,
                           call->ticket, BREAKER_SUCCESS, call->seed, call->is_shadow);
        return;
    }
    entry->ticket = call->ticket;
    entry->owner = process_id();
    uint64_t recv_ns = call->is_blocking ? shorter(guard->recv_ns, guard->response_ns) : 0;
    if (recv_ns) {
        entry->own_recv_ns = call->is_fresh ? 0 : option_get_timeout(call->fd, SO_RCVTIMEO);
        option_set_timeout(call->fd, SO_RCVTIMEO, shorter(recv_ns, entry->own_recv_ns));
    }
    entry->own_send_ns = call->is_shadow ? 0 : call->own_send_ns;
    bool is_datagram = call->kind == SOCKET_UDP || call->kind == SOCKET_UNIX_DATAGRAM;
    atomic_store_explicit(&entry->state,
                          (connect_has_exchanges(call) ? IDLE | FIRST_EXCHANGE : 0) |
                              (holds_ticket ? HOLDS_TICKET : 0) |
                              (call->is_blocking ? 0 : NON_BLOCKING | OPTIONS_LATER) |
                              (guard_times_waits(guard) ? WAITS_ARE_TIMED : 0) |
                              (is_datagram                           ? MESSAGES | CONNECTIONLESS
                               : call->kind == SOCKET_UNIX_SEQPACKET ? MESSAGES
                                                                     : 0),
                          memory_order_release);
    transfer_adopt_copies(entry, call->fd);
    throttle_connected(call, entry);
    if (descriptor_is_stream(call->fd)) {
        transfer_hand_over(call->fd);
        transfer_trust(call->fd);
    }
}

void transfer_adopt_copies(const struct descriptor *entry, int fd)
{
    if (!descriptor_is_copied(fd))
        return;
    for (int copy = descriptor_next_copied(0); copy >= 0; copy = descriptor_next_copied((unsigned)copy + 1)) {
        if (descriptor_of(copy) == entry || option_cookie(copy) != entry->cookie)
            continue;
        if (descriptor_is_stream(copy))
            descriptor_note_stream(fd);
        if (descriptor_of(copy)) /* of the connection that it was before */
            transfer_let_go(copy);
        descriptor_share(fd, copy);
    }
}

void transfer_let_go(int fd)
{
    if (!process_owns_memory()) {
        segment_passed(PASSED_NOT_OURS);
        return;
    }
    struct descriptor last, *entry = descriptor_of(fd);
    if (entry && atomic_load_explicit(&entry->pending, memory_order_relaxed)) {
        if (readiness_leave(fd, entry))
            return;
        readiness_abandon(fd, entry);
    }
    if (entry && atomic_load_explicit(&entry->degraded, memory_order_relaxed) &&
        atomic_load_explicit(&entry->references, memory_order_relaxed) == 1)
        stand_in_ended(entry);
    /* It acts on the socket: not while another number of it stays, nor in a fork child, which has a copy. */
    if (entry && atomic_load_explicit(&entry->state, memory_order_relaxed) & FAULTY &&
        atomic_load_explicit(&entry->references, memory_order_relaxed) == 1 && entry->owner == process_id())
        fault_let_go(fd, entry);
    descriptor_drop(fd, &last);
    if (!last.guard)
        return;
    exchange_abandoned(&last);
    throttle_ended(&last);
}

void transfer_let_go_of_socket(int fd)
{
    const struct descriptor *entry = descriptor_of(fd);
    bool is_shared = entry && atomic_load_explicit(&entry->references, memory_order_relaxed) > 1;
    uint64_t cookie = entry ? entry->cookie : 0;
    transfer_let_go(fd);
    if (!is_shared)
        return;
    for (int copy = -1; (copy = descriptor_next_of(entry, (unsigned)copy + 1)) >= 0;)
        if (entry->cookie == cookie)
            transfer_let_go(copy);
}

bool transfer_hand_over(int fd)
{
    struct descriptor *entry = descriptor_of(fd);
    if (!entry || !transfer_is_same(entry, fd))
        return false;
    uint32_t before = atomic_fetch_or_explicit(&entry->state, HANDED_OVER, memory_order_relaxed);
    if (!(before & OPTIONS_LATER))
        take_options_off(entry, fd);
    return true;
}

void transfer_made_blocking(struct descriptor *entry, int fd, bool is_blocking)
{
    uint32_t before = is_blocking
                          ? atomic_fetch_and_explicit(&entry->state, ~NON_BLOCKING, memory_order_relaxed)
                          : atomic_fetch_or_explicit(&entry->state, NON_BLOCKING, memory_order_relaxed);
    bool was_blocking = !(before & NON_BLOCKING);
    if (is_blocking == was_blocking || before & (HANDED_OVER | CONNECTING) || !transfer_is_same(entry, fd))
        return;
    if (is_blocking)
        put_options_on(entry, fd);
    else
        take_options_off(entry, fd);
}

void transfer_connected_midway(struct descriptor *entry, int fd)
{
    if (!(atomic_load_explicit(&entry->state, memory_order_relaxed) & HANDED_OVER))
        put_options_on(entry, fd);
}

static void take_options_off(const struct descriptor *entry, int fd)
{
    const struct guard *guard = descriptor_guard(entry);
    if (guard->recv_ns || guard->response_ns)
        option_set_timeout(fd, SO_RCVTIMEO, entry->own_recv_ns);
    if (guard->send_ns)
        option_set_timeout(fd, SO_SNDTIMEO, entry->own_send_ns);
}

static void put_options_on(struct descriptor *entry, int fd)
{
    const struct guard *guard = descriptor_guard(entry);
    uint64_t recv_ns = shorter(guard->recv_ns, guard->response_ns);
    if (atomic_fetch_and_explicit(&entry->state, ~OPTIONS_LATER, memory_order_relaxed) & OPTIONS_LATER) {
        entry->own_recv_ns = option_get_timeout(fd, SO_RCVTIMEO);
        entry->own_send_ns = option_get_timeout(fd, SO_SNDTIMEO);
    }
    if (recv_ns)
        option_set_timeout(fd, SO_RCVTIMEO, shorter(recv_ns, entry->own_recv_ns));
    if (guard->send_ns)
        option_set_timeout(fd, SO_SNDTIMEO, shorter(guard->send_ns, entry->own_send_ns));
}

void transfer_trust(int fd)
{
    struct descriptor *entry = descriptor_of(fd);
    if (entry && process_owns_memory())
        exchange_trusted(entry);
}

void transfer_hand_over_all(struct handed *handed)
{
    handed->count = 0;
    tally_settle();
    if (descriptor_next(0, ~0u) < 0 || !process_owns_memory())
        return;
    int error = errno;
    unsigned last = process_is_original() ? ~0u : STDERR_FILENO;
    for (int fd = descriptor_next(0, last); fd >= 0; fd = descriptor_next((unsigned)fd + 1, last)) {
        int flags = real.fcntl(fd, F_GETFD, NULL);
        if (flags < 0 || flags & FD_CLOEXEC)
            continue;
        struct descriptor *entry = descriptor_of(fd);
        if (!entry || (atomic_load_explicit(&entry->state, memory_order_relaxed) & INHERITED &&
                       !descriptor_guard(entry)->is_shadow))
            continue; /* the options are not ours to take off */
        if (atomic_load_explicit(&entry->pending, memory_order_relaxed) && process_is_original())
            readiness_hand_over(fd, entry);
        if (transfer_hand_over(fd) && handed->count < sizeof handed->fds / sizeof *handed->fds)
            handed->fds[handed->count++] = fd;
    }
    errno = error;
}

int transfer_take_back(const struct handed *handed, int result)
{
    for (unsigned i = 0; i < handed->count; i++) {
        struct descriptor *entry = descriptor_of(handed->fds[i]);
        if (!entry)
            continue;
        uint32_t before = atomic_fetch_and_explicit(&entry->state, ~HANDED_OVER, memory_order_relaxed);
        if (!(before & NON_BLOCKING))
            put_options_on(entry, handed->fds[i]);
    }
    return result;
}

/* What the rule asks of SO_RCVTIMEO or SO_SNDTIMEO; 0 = the option is the program's alone. */
static uint64_t rule_timeout(const struct descriptor *entry, int option)
{
    if (atomic_load_explicit(&entry->state, memory_order_relaxed) & (HANDED_OVER | NON_BLOCKING | CONNECTING))
        return 0;
    const struct guard *guard = descriptor_guard(entry);
    return option == SO_RCVTIMEO ? shorter(guard->recv_ns, guard->response_ns) : guard->send_ns;
}

int transfer_set_timeout(struct descriptor *entry, int fd, int option, const struct timeval *own)
{
    /* The kernel judges the value first; what it refuses the program must see refused. */
    int result = real.setsockopt(fd, SOL_SOCKET, option, own, sizeof *own);
    if (result != 0 || !transfer_is_same(entry, fd))
        return result;
    uint64_t own_ns = option_get_timeout(fd, option), rule_ns = rule_timeout(entry, option);
    *(option == SO_RCVTIMEO ? &entry->own_recv_ns : &entry->own_send_ns) = own_ns;
    if (rule_ns)
        option_set_timeout(fd, option, shorter(rule_ns, own_ns));
    return 0;
}

bool transfer_own_timeout(struct descriptor *entry, int fd, int option, uint64_t *own_ns)
{
    if (!rule_timeout(entry, option) || !transfer_is_same(entry, fd))
        return false;
    *own_ns = option == SO_RCVTIMEO ? entry->own_recv_ns : entry->own_send_ns;
    return true;
}

bool transfer_is_same(struct descriptor *entry, int fd)
{
    uint64_t cookie = __atomic_load_n(&entry->cookie, __ATOMIC_ACQUIRE);
    if (option_cookie(fd) == cookie)
        return true;
    /* Another thread may have closed it meanwhile, and the number or the entry, or both, may be another connection's by now. */
    if (descriptor_of(fd) != entry || __atomic_load_n(&entry->cookie, __ATOMIC_ACQUIRE) != cookie)
        return false;
    segment_passed(PASSED_STALE);
    transfer_let_go(fd);
    return false;
}
