#include "drive/fault_connect.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "drive/faults.h"
#include "drive/options.h"
#include "drive/park.h"
#include "drive/shape.h"
#include "drive/signals.h"
#include "drive/transfer.h"
#include "drive/unix.h"
#include "hooks/real.h"
#include "policy/call.h"
#include "state/process.h"

/* How long the kernel tries: with its usual settings, 1 + 2 + 4 + ... + 64 s. */
#define KERNEL_GIVES_UP_NS (127 * NS_PER_S)

static struct attempt late(struct connecting *call, uint64_t due_ns, uint64_t until_ns, const sigset_t *mask,
                           bool *is_over);
static struct attempt silence(struct connecting *call, uint64_t until_ns, const sigset_t *mask);
static bool park_flow(struct flow *flow, int fd, const struct sockaddr *address);
static void unpark_flow(struct flow *flow, int fd);
static bool is_tcp(const struct connecting *call);

void fault_flow(struct connecting *call, uintptr_t caller)
{
    char text[sizeof call->text];
    target_text(&call->target, text, sizeof text);
    call->caller = caller;
    call->flow = flow_begin(call->rules, &call->target, text,
                            FAULT_ON(FAULT_CONNECT) | FAULT_ON(FAULT_SEND) | FAULT_ON(FAULT_RECV));
    if (call->flow)
        call->flow->is_message = call->kind != SOCKET_TCP && call->kind != SOCKET_UNIX;
}

void fault_connected(struct connecting *call, int result)
{
    int error = errno;
    struct flow *flow = call->flow;
    call->flow = NULL;
    bool is_on_its_way = result == 0 || error == EINPROGRESS || error == EINTR;
    uint32_t transfers = FAULT_ON(FAULT_SEND) | FAULT_ON(FAULT_RECV);
    /* What is parked is to be let go once: it must be known then. */
    bool is_wanted = flow->operations & transfers || flow->connect_delay_ns || flow->is_parked;
    if (!is_on_its_way || !is_wanted || !process_owns_memory()) {
        unpark_flow(flow, call->fd);
        flow_end(flow);
        errno = error;
        return;
    }
    struct descriptor *entry = descriptor_of(call->fd);
    if (!entry) {
        uint64_t cookie = option_cookie(call->fd);
        entry = cookie ? descriptor_adopt(call->fd, cookie, &guard_of_nothing, call->host, call->text) : NULL;
        if (entry) {
            bool is_datagram = call->kind == SOCKET_UDP || call->kind == SOCKET_UNIX_DATAGRAM;
            entry->owner = process_id();
            if (!call->is_fresh) {
                entry->own_recv_ns = option_get_timeout(call->fd, SO_RCVTIMEO);
                entry->own_send_ns = option_get_timeout(call->fd, SO_SNDTIMEO);
            }
            atomic_store_explicit(&entry->state,
                                  (call->is_blocking ? 0 : NON_BLOCKING) |
                                      (is_datagram                           ? MESSAGES | CONNECTIONLESS
                                       : call->kind == SOCKET_UNIX_SEQPACKET ? MESSAGES
                                                                             : 0),
                                  memory_order_release);
            transfer_adopt_copies(entry, call->fd);
        }
    }
    if (!entry || !flow_attach(entry, flow)) {
        segment_passed(PASSED_NO_MEMORY);
        if (!entry) {
            unpark_flow(flow, call->fd);
            flow_end(flow);
        }
    } else if (result != 0 && error == EINPROGRESS) {
        shape_connect(entry, call->fd, flow);
    }
    errno = error;
}

int fault_connect(struct connecting *call)
{
    struct attempt attempt;
    int result, error = errno;
    if (!call->is_blocking)
        return fault_at_once(call->flow, NULL, call->text, call->fd, call->address, call->caller, &result)
                   ? result
                   : real.connect(call->fd, call->address, call->length);
    call->own_send_ns = call->is_fresh ? 0 : option_get_timeout(call->fd, SO_SNDTIMEO);
    call->send_option_ns = call->own_send_ns;
    call->tried = call->address;
    call->tried_length = call->length;
    bool is_made = fault_attempt(call, NEVER, NULL, &attempt);
    attempt_set_send_option(call, call->own_send_ns);
    errno = error;
    if (!is_made)
        return real.connect(call->fd, call->address, call->length);
    if (attempt.error)
        errno = attempt.error;
    return attempt.error ? -1 : 0;
}

bool fault_attempt(struct connecting *call, uint64_t until_ns, const sigset_t *mask, struct attempt *attempt)
{
    struct faulted faulted = {.may_wait = true, .may_hang = true, .text = call->text};
    unpark_flow(call->flow, call->fd);
    call->flow->has_failed = false;
    if (!faults_begin(&faulted, call->flow, FAULT_CONNECT, call->caller, NULL))
        return false;
    faults_end(&faulted);
    bool is_over = false;
    sigset_t own_mask;
    const struct fault_plan *plan = &faulted.plan;
    if (!mask)
        signals_block(&own_mask);
    if (plan->delay_ns)
        *attempt = late(call, clock_now_ns() + plan->delay_ns, until_ns, mask ? mask : &own_mask, &is_over);
    if (!is_over && plan->action == FAULT_SILENCE) {
        *attempt = silence(call, until_ns, mask ? mask : &own_mask);
        is_over = true;
    } else if (!is_over && plan->action == FAULT_FAIL) {
        *attempt = (struct attempt){ENDED, plan->error};
        call->flow->has_failed = true;
        is_over = true;
    }
    if (!mask)
        signals_restore(&own_mask);
    return is_over;
}

/* Waits for as long as the attempt is to be late. `is_over`: it is, before it has begun. */
static struct attempt late(struct connecting *call, uint64_t due_ns, uint64_t until_ns, const sigset_t *mask,
                           bool *is_over)
{
    uint64_t own_until_ns = call->own_send_ns ? clock_now_ns() + call->own_send_ns : NEVER;
    uint64_t end_ns = until_ns < own_until_ns ? until_ns : own_until_ns;
    enum waited waited = signals_wait(-1, 0, due_ns < end_ns ? due_ns : end_ns, mask);
    bool is_interrupted = waited == WAITED_INTERRUPTED;
    if (!is_interrupted && due_ns <= end_ns)
        return (struct attempt){ENDED, 0};
    *is_over = true;
    if (!is_interrupted && until_ns <= own_until_ns)
        return (struct attempt){ENDED_CUT, ETIMEDOUT};
    /* To the program the attempt is on its way from now on; so it is. */
    struct attempt attempt = attempt_start(call);
    if (attempt.how != ENDED_IN_FLIGHT)
        return attempt;
    return is_interrupted ? (struct attempt){ENDED_INTERRUPTED, EINTR}
                          : (struct attempt){ENDED_OWN_TIMEOUT, EINPROGRESS};
}

/* Nobody answers. The kernel itself sees to what that means, where a silent attempt can be had. */
static struct attempt silence(struct connecting *call, uint64_t until_ns, const sigset_t *mask)
{
    uint64_t own_until_ns = call->own_send_ns ? clock_now_ns() + call->own_send_ns : NEVER;
    if (is_tcp(call)) {
        attempt_set_send_option(call, 1);
        if (park_flow(call->flow, call->fd, call->tried)) {
            struct attempt attempt = attempt_wait(call, until_ns, own_until_ns, mask);
            if (attempt.how == ENDED || attempt.how == ENDED_CUT)
                unpark_flow(call->flow, call->fd);
            return attempt;
        }
    }
    uint64_t gives_up_ns = clock_now_ns() + KERNEL_GIVES_UP_NS;
    uint64_t end_ns = until_ns < own_until_ns ? until_ns : own_until_ns;
    enum waited waited = signals_wait(-1, 0, end_ns < gives_up_ns ? end_ns : gives_up_ns, mask);
    if (waited == WAITED_INTERRUPTED)
        return (struct attempt){ENDED_INTERRUPTED, EINTR};
    if (end_ns < gives_up_ns && own_until_ns < until_ns)
        return (struct attempt){ENDED_OWN_TIMEOUT, is_tcp(call) ? EINPROGRESS : EAGAIN};
    return (struct attempt){end_ns < gives_up_ns ? ENDED_CUT : ENDED, ETIMEDOUT};
}

bool fault_at_once(struct flow *flow, const struct descriptor *entry, const char *text, int fd,
                   const struct sockaddr *address, uintptr_t caller, int *result)
{
    bool is_network = address->sa_family == AF_INET || address->sa_family == AF_INET6;
    bool may_be_late = is_network && !flow->is_message;
    struct faulted faulted = {.may_wait = may_be_late, .may_hang = may_be_late, .text = entry ? NULL : text};
    unpark_flow(flow, fd);
    flow->has_failed = false;
    if (!faults_begin(&faulted, flow, FAULT_CONNECT, caller, entry))
        return false;
    faults_end(&faulted);
    flow->connect_delay_ns = faulted.plan.delay_ns;
    switch (faulted.plan.action) {
    case FAULT_FAIL:
        flow->has_failed = true;
        errno = faulted.plan.error;
        *result = -1;
        return true;
    case FAULT_SILENCE:
        if (!park_flow(flow, fd, address)) {
            segment_passed(PASSED_NOT_PARKED);
            return false;
        }
        errno = EINPROGRESS;
        *result = -1;
        return true;
    default:
        return false;
    }
}

void fault_let_go(int fd, const struct descriptor *entry)
{
    struct flow *flow = flow_of(entry);
    if (flow && flow->is_parked && option_cookie(fd) == entry->cookie)
        unpark_flow(flow, fd);
}

bool fault_is_silent(const struct descriptor *entry)
{
    const struct flow *flow = flow_of(entry);
    return flow && flow->is_parked &&
           atomic_load_explicit(&entry->state, memory_order_acquire) & NON_BLOCKING;
}

static bool park_flow(struct flow *flow, int fd, const struct sockaddr *address)
{
    flow->is_parked = park(fd, address, &flow->saved_hops);
    if (flow->is_parked)
        memcpy(flow->parked_address, address,
               address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    return flow->is_parked;
}

static void unpark_flow(struct flow *flow, int fd)
{
    int error = errno;
    if (flow->is_parked)
        stay_parked(fd, (const struct sockaddr *)flow->parked_address, flow->saved_hops);
    flow->is_parked = false;
    errno = error;
}

static bool is_tcp(const struct connecting *call)
{
    return call->kind == SOCKET_TCP;
}
