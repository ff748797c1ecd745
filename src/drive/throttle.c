#include "drive/throttle.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "base/clock.h"
#include "drive/degrade.h"
#include "drive/options.h"
#include "drive/signals.h"
#include "drive/transfer.h"
#include "drive/turn.h"
#include "hooks/real.h"
#include "policy/call.h"
#include "state/process.h"

/* What a call waits in: begun when it has to, so that others pay nothing for it. */
struct wait {
    bool is_begun;
    bool is_for_rate; /* and not for a place */
    sigset_t mask;
};

static void give_back(const struct descriptor *entry);
static bool take_place(struct connecting *call, const struct limit_params *params, struct wait *wait);
static bool take_token(struct connecting *call, const struct limit_params *params, struct wait *wait);
static bool wait_until(struct wait *wait, uint64_t until_ns);
static uint32_t count_places(uint64_t key, bool *has_gone);
static bool is_counted_before(const struct descriptor *entry, int fd);
static bool reject(struct connecting *call, enum event_kind kind, enum sample_kind sample,
                   uint64_t waited_ns);
static struct limited about(const struct connecting *call);
static struct event event_of(const struct limited *limited, enum event_kind kind, bool is_for_rate,
                             uint64_t waited_ns, uint32_t count);

bool throttle_admit(struct connecting *call)
{
    const struct policy *policy = &call->rule->policy;
    call->has_place = false;
    call->started_ns = call->begun_ns;
    if (!policy->limit.is_on)
        return true;
    if (!process_owns_memory()) {
        segment_passed(PASSED_NOT_OURS);
        return true;
    }
    struct limit_params params = throttle_params(policy);
    if (!call->is_blocking && !call->is_shadow && !turn_may_wait(call))
        params.wait_ns = 0;
    call->limit = limits_find(call->host.key, call->begun_ns);
    struct wait wait = {.is_begun = false};
    bool is_admitted =
        take_place(call, &params, &wait) && (call->turn_ns || take_token(call, &params, &wait));
    if (wait.is_begun) {
        signals_restore(&wait.mask);
        call->started_ns = clock_now_ns();
    }
    if (is_admitted && wait.is_begun) {
        struct limited limited = about(call);
        throttle_tell_wait(&limited, wait.is_for_rate, call->started_ns - call->begun_ns);
    }
    return is_admitted;
}

struct limit_params throttle_params(const struct policy *policy)
{
    uint64_t total_ns = policy->timeout.total_ns;
    return (struct limit_params){
        .connections = policy->limit.connections,
        .rate_per_s = policy->limit.rate_per_s,
        .wait_ns = total_ns && total_ns < policy->limit.wait_ns ? total_ns : policy->limit.wait_ns,
    };
}

void throttle_reject(struct connecting *call)
{
    bool is_rate = call->has_token;
    reject(call, is_rate ? EVENT_LIMIT_RATE : EVENT_LIMIT_CONNECTIONS,
           is_rate ? SAMPLE_RATE : SAMPLE_CONNECTIONS, 0);
}

void throttle_leave(struct connecting *call)
{
    if (!call->has_place)
        return;
    limits_left(call->limit, clock_now_ns());
    call->has_place = false;
    turn_call_up(call->limit.key);
}

void throttle_connected(struct connecting *call, struct descriptor *entry)
{
    if (!call->has_place)
        return;
    limits_connected(call->limit, clock_now_ns());
    atomic_store_explicit(&entry->holds_place, 1, memory_order_release);
    call->has_place = false;
}

void throttle_ended(const struct descriptor *entry)
{
    /* A fork child's copies are not its connections. */
    if (atomic_load_explicit(&entry->holds_place, memory_order_relaxed) && entry->owner == process_id())
        give_back(entry);
}

void throttle_failed(struct descriptor *entry)
{
    if (atomic_exchange_explicit(&entry->holds_place, 0, memory_order_acq_rel) &&
        entry->owner == process_id())
        give_back(entry);
}

static void give_back(const struct descriptor *entry)
{
    limits_ended(limits_known(entry->host.key), clock_now_ns());
    turn_call_up(entry->host.key);
}

void throttle_keep(struct connecting *call)
{
    static const struct policy nothing; /* the data path has nothing to do for it */
    if (!call->has_place)
        return;
    const struct guard *guard = guard_of(&nothing);
    struct descriptor *entry =
        guard ? descriptor_adopt(call->fd, option_cookie(call->fd), guard, call->host, call->text) : NULL;
    if (!entry) {
        segment_passed(PASSED_NO_MEMORY);
        throttle_leave(call);
        return;
    }
    entry->owner = process_id();
    transfer_adopt_copies(entry, call->fd);
    throttle_connected(call, entry);
}

bool throttle_is_known(int fd)
{
    struct descriptor *entry = descriptor_of(fd);
    if (!entry || !atomic_load_explicit(&entry->holds_place, memory_order_relaxed) ||
        option_cookie(fd) != entry->cookie)
        return false;
    int error = errno;
    struct tcp_info info = {.tcpi_state = TCP_CLOSE};
    socklen_t length = sizeof info;
    real.getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
    errno = error;
    return info.tcpi_state != TCP_CLOSE;
}

/* Before a call has to wait, and before it is turned away, the connections are counted: their ends can be missed. */
static bool take_place(struct connecting *call, const struct limit_params *params, struct wait *wait)
{
    call->has_token = false;
    if (!params->connections)
        return true;
    struct limit_params now_or_never = *params;
    if (call->is_shadow)
        now_or_never.wait_ns = 0; /* how long it would wait cannot be known without waiting */
    bool may_park = params->wait_ns && turn_may_wait(call);
    enum limit_verdict counted_for = LIMIT_ADMIT;
    for (;;) {
        uint64_t now = clock_now_ns();
        if (may_park && turn_has_line(call->limit)) {
            call->turn_ns = now; /* behind them */
            return true;
        }
        struct limit_answer answer = limits_enter(call->limit, &now_or_never, call->begun_ns, now);
        if (answer.verdict == LIMIT_ADMIT) {
            call->has_place = call->limit.limit != NULL;
            return true;
        }
        if (counted_for != answer.verdict) {
            counted_for = answer.verdict;
            throttle_recount(call->limit, policy_worst_case_ns(&call->rule->policy));
            continue;
        }
        if (may_park && answer.verdict == LIMIT_WAIT) {
            call->turn_ns = answer.until_ns;
            return true;
        }
        if (answer.verdict == LIMIT_REJECT || !wait_until(wait, answer.until_ns))
            return reject(call, EVENT_LIMIT_CONNECTIONS, SAMPLE_CONNECTIONS,
                          call->is_shadow || !params->wait_ns ? params->wait_ns : now - call->begun_ns);
    }
}

static bool take_token(struct connecting *call, const struct limit_params *params, struct wait *wait)
{
    uint64_t now = clock_now_ns();
    wait->is_for_rate = !wait->is_begun;
    struct limit_answer answer = limits_take(call->limit, params, call->begun_ns, now);
    struct limited limited = about(call);
    if (answer.verdict == LIMIT_WAIT && call->is_shadow) {
        throttle_tell_wait(&limited, true, answer.until_ns - now);
    } else if (answer.verdict == LIMIT_WAIT && turn_may_wait(call)) {
        call->turn_ns = answer.until_ns;
        call->has_token = true;
    } else if (answer.verdict == LIMIT_REJECT ||
               (answer.verdict == LIMIT_WAIT && !wait_until(wait, answer.until_ns))) {
        return reject(call, EVENT_LIMIT_RATE, SAMPLE_RATE, wait->is_begun ? now - call->begun_ns : 0);
    }
    return true;
}

/* False: a handler without SA_RESTART ran. The program may not see EINTR now, or it would believe that it is connected as
 * soon as it asks (drive/blocking.c); so its wait is over. */
static bool wait_until(struct wait *wait, uint64_t until_ns)
{
    if (!wait->is_begun)
        signals_block(&wait->mask);
    wait->is_begun = true;
    return signals_wait(-1, 0, until_ns, &wait->mask) != WAITED_INTERRUPTED;
}

void throttle_recount(struct limit_handle limit, uint64_t longest_ns)
{
    for (int tries = 0; tries < 3; tries++) {
        bool has_gone = false;
        uint64_t before = limits_places(limit);
        uint32_t live = count_places(limit.key, &has_gone);
        if (!has_gone && limits_correct(limit, before, live, longest_ns, clock_now_ns()))
            return;
    }
}

static uint32_t count_places(uint64_t key, bool *has_gone)
{
    uint32_t live = 0;
    for (int fd = descriptor_next(0, ~0u); fd >= 0; fd = descriptor_next((unsigned)fd + 1, ~0u)) {
        struct descriptor *entry = descriptor_of(fd);
        if (!entry || !atomic_load_explicit(&entry->holds_place, memory_order_relaxed) ||
            entry->host.key != key || entry->owner != process_id())
            continue;
        if (option_cookie(fd) == entry->cookie) {
            live += !is_counted_before(entry, fd);
        } else if (descriptor_of(fd) == entry) {
            segment_passed(PASSED_STALE);
            transfer_let_go(fd);
            *has_gone = true;
        }
    }
    return live;
}

/* Copies of one descriptor are one connection. */
static bool is_counted_before(const struct descriptor *entry, int fd)
{
    if (atomic_load_explicit(&entry->references, memory_order_relaxed) < 2)
        return false;
    for (int other = descriptor_next(0, ~0u); other >= 0 && other < fd;
         other = descriptor_next((unsigned)other + 1, ~0u))
        if (descriptor_of(other) == entry)
            return true;
    return false;
}

static bool reject(struct connecting *call, enum event_kind kind, enum sample_kind sample, uint64_t waited_ns)
{
    struct limited limited = about(call);
    throttle_leave(call);
    throttle_tell_rejected(&limited, kind, sample, waited_ns);
    if (call->is_shadow)
        return false;
    call->is_exhausted = call->is_limited = true;
    errno = call->rule->policy.limit.error;
    return false;
}

static struct limited about(const struct connecting *call)
{
    const struct policy *policy = &call->rule->policy;
    return (struct limited){.host = call->host,
                            .target = call->text,
                            .rule = call->rule->name,
                            .params = throttle_params(policy),
                            .error = degrade_is_for(call) ? 0 : policy->limit.error,
                            .is_shadow = call->is_shadow};
}

void throttle_tell_rejected(const struct limited *limited, enum event_kind kind, enum sample_kind sample,
                            uint64_t waited_ns)
{
    host_count(limited->host, limited->is_shadow ? HOST_SHADOWED : HOST_LIMITED);
    if (limited->is_shadow)
        host_count(limited->host, HOST_WOULD_LIMIT);
    uint32_t count = hosts_sample(limited->host, sample, kind, clock_now_ns());
    if (!count)
        return;
    struct event event = event_of(limited, kind, kind == EVENT_LIMIT_RATE, waited_ns, count);
    event.error = limited->error;
    tell(&event);
}

void throttle_tell_wait(const struct limited *limited, bool is_for_rate, uint64_t waited_ns)
{
    host_count(limited->host, limited->is_shadow ? HOST_SHADOWED : HOST_WAITED);
    uint32_t count = hosts_sample(limited->host, SAMPLE_WAIT, EVENT_LIMIT_WAIT, clock_now_ns());
    if (!count)
        return;
    struct event event = event_of(limited, EVENT_LIMIT_WAIT, is_for_rate, waited_ns, count);
    event.flags |= is_for_rate ? EVENT_OF_RATE : 0;
    tell(&event);
}

static struct event event_of(const struct limited *limited, enum event_kind kind, bool is_for_rate,
                             uint64_t waited_ns, uint32_t count)
{
    struct event event = event_about(kind, limited->target);
    event.event_limit = is_for_rate ? limited->params.rate_per_s : limited->params.connections;
    memcpy(event.event_rule, limited->rule, strnlen(limited->rule, sizeof event.event_rule - 1));
    event.duration_ns = waited_ns;
    event.count = count;
    event.flags = limited->is_shadow ? EVENT_SHADOW : 0;
    return event;
}
