#include "drive/turn.h"

#include <string.h>

#include "base/clock.h"
#include "drive/flight.h"
#include "drive/nudge.h"
#include "drive/silence.h"
#include "drive/throttle.h"

#define LOOK_BEHIND_NS (250 * NS_PER_MS) /* by others than the first, who is to call them up */
#define COUNT_NS       (100 * NS_PER_MS) /* between two counts of the connections */

static bool take_place(struct pending *pending, uint64_t now_ns);
static bool take_token(struct pending *pending, uint64_t now_ns);
static bool look_again(struct pending *pending, uint64_t when_ns);
static bool refuse(struct pending *pending, enum event_kind kind, enum sample_kind sample, uint64_t now_ns);
static void go_ahead(struct pending *pending, uint64_t now_ns);
static bool may_pass(struct pending *pending, enum breaker_verdict *verdict, uint64_t now_ns);
static struct limited about(const struct pending *pending, const char *target);

bool turn_may_wait(const struct connecting *call)
{
    return !call->is_blocking && !call->is_shadow && !call->is_in_flight && call->kind != SOCKET_UDP &&
           call->kind != SOCKET_UNIX_DATAGRAM;
}

bool turn_has_line(struct limit_handle limit)
{
    return pending_first_turn(limit.key);
}

bool turn_begin(struct pending *pending, const struct connecting *call)
{
    const struct policy *policy = &call->rule->policy;
    nudge_attempt_ended(pending);
    if (!silence_begin(pending))
        return false;
    nudge_parked(pending);
    pending->turn.is_waiting = true;
    pending->turn.has_token = call->has_token;
    pending->turn.is_for_rate = call->has_token;
    pending->turn.limit = call->limit;
    pending->turn.params = throttle_params(policy);
    pending->turn.token_ns = call->turn_ns;
    pending->turn.counted_ns = call->started_ns;
    pending->turn.longest_ns = policy_worst_case_ns(policy);
    pending->turn.error = policy->limit.error;
    memset(pending->turn.rule, 0, sizeof pending->turn.rule);
    memcpy(pending->turn.rule, call->rule->name, strnlen(call->rule->name, sizeof pending->turn.rule - 1));
    if (call->has_token)
        atomic_store_explicit(&pending->turn_begun_ns, call->begun_ns, memory_order_relaxed);
    else
        pending_turn(pending, call->limit.key, call->begun_ns);
    pending_enter(pending, PENDING_PARKED);
    pending_release(pending, call->turn_ns);
    return true;
}

void turn_come(struct pending *pending)
{
    uint64_t now = clock_now_ns();
    if (!pending->turn.has_token && !(take_place(pending, now) && take_token(pending, now)))
        return;
    if (pending->turn.token_ns > now)
        pending_release(pending, pending->turn.token_ns);
    else
        go_ahead(pending, now);
}

void turn_leave(struct pending *pending)
{
    uint64_t key = atomic_load_explicit(&pending->turn_key, memory_order_relaxed);
    pending->turn.is_waiting = false;
    pending_turn(pending, 0, 0);
    if (key)
        turn_call_up(key);
}

void turn_call_up(uint64_t key)
{
    struct pending *first = pending_first_turn(key);
    struct descriptor *entry = first ? atomic_load_explicit(&first->entry, memory_order_relaxed) : NULL;
    if (entry)
        pending_due(first, entry, clock_now_ns());
}

/* False: it has none yet, or never will, and the slot is not ours any more. */
static bool take_place(struct pending *pending, uint64_t now_ns)
{
    const struct limit_params *params = &pending->turn.params;
    struct limit_handle limit = pending->turn.limit;
    uint64_t begun_ns = pending->turn_begun_ns, end_ns = begun_ns + params->wait_ns;
    if (!params->connections)
        return true;
    if (now_ns < end_ns && pending_first_turn(limit.key) != pending)
        return look_again(pending, end_ns < now_ns + LOOK_BEHIND_NS ? end_ns : now_ns + LOOK_BEHIND_NS);
    struct limit_answer answer = limits_enter(limit, params, begun_ns, now_ns);
    if (answer.verdict == LIMIT_REJECT ||
        (answer.verdict == LIMIT_WAIT && now_ns > pending->turn.counted_ns + COUNT_NS)) {
        pending->turn.counted_ns = now_ns;
        throttle_recount(limit, pending->turn.longest_ns);
        answer = limits_enter(limit, params, begun_ns, now_ns);
    }
    if (answer.verdict == LIMIT_WAIT)
        return look_again(pending, answer.until_ns);
    if (answer.verdict == LIMIT_REJECT)
        return refuse(pending, EVENT_LIMIT_CONNECTIONS, SAMPLE_CONNECTIONS, now_ns);
    limits_connected(limit, now_ns);
    atomic_store_explicit(&pending->entry->holds_place, 1, memory_order_release);
    pending_turn(pending, 0, begun_ns);
    turn_call_up(limit.key); /* there may be more than one */
    return true;
}

/* The same; but one that is not there yet is counted on, and the call goes ahead when it is. */
static bool take_token(struct pending *pending, uint64_t now_ns)
{
    struct limit_answer answer =
        limits_take(pending->turn.limit, &pending->turn.params, pending->turn_begun_ns, now_ns);
    if (answer.verdict == LIMIT_REJECT)
        return refuse(pending, EVENT_LIMIT_RATE, SAMPLE_RATE, now_ns);
    pending->turn.has_token = true;
    pending->turn.token_ns = answer.verdict == LIMIT_WAIT ? answer.until_ns : now_ns;
    return true;
}

static bool look_again(struct pending *pending, uint64_t when_ns)
{
    pending_release(pending, when_ns);
    return false;
}

static bool refuse(struct pending *pending, enum event_kind kind, enum sample_kind sample, uint64_t now_ns)
{
    struct target_name target = descriptor_target(pending->entry);
    struct limited limited = about(pending, target.text);
    throttle_tell_rejected(&limited, kind, sample, now_ns - pending->turn_begun_ns);
    turn_leave(pending);
    pending->descent.is_limited = true;
    flight_reject(pending, pending->turn.error);
    return false;
}

/* Its time begins now, but for what is gone of `total`. */
static void go_ahead(struct pending *pending, uint64_t now_ns)
{
    struct descriptor *entry = pending->entry;
    struct target_name target = descriptor_target(entry);
    struct limited limited = about(pending, target.text);
    uint64_t waited_ns = now_ns - pending->turn_begun_ns;
    throttle_tell_wait(&limited, pending->turn.is_for_rate, waited_ns);
    turn_leave(pending);
    nudge_attempt_ended(pending);
    enum breaker_verdict verdict = BREAKER_ADMIT;
    if (!may_pass(pending, &verdict, now_ns)) {
        flight_reject(pending, pending->breaker_error);
        return;
    }
    struct call_params params = pending->call.params;
    if (params.total_ns)
        params.total_ns = params.total_ns > waited_ns ? params.total_ns - waited_ns : 1;
    pending->connects_before =
        entry->host.host
            ? atomic_load_explicit(&entry->host.host->counts[HOST_CONNECTED], memory_order_relaxed)
            : 0;
    flight_carry_on(pending, call_begin(&pending->call, &params, verdict, pending->seed, now_ns));
}

static bool may_pass(struct pending *pending, enum breaker_verdict *verdict, uint64_t now_ns)
{
    struct descriptor *entry = pending->entry;
    if (!pending->has_breaker)
        return true;
    struct breaker_answer answer = breakers_admit(entry->host, &descriptor_guard(entry)->breaker, now_ns);
    *verdict = answer.verdict;
    entry->ticket = answer.ticket;
    struct target_name target = descriptor_target(entry);
    if (answer.verdict == BREAKER_PROBE) {
        host_count(entry->host, HOST_PROBES);
        struct event event = event_about(EVENT_PROBE, target.text);
        tell(&event);
    }
    if (answer.verdict != BREAKER_REJECT)
        return true;
    uint32_t count = breakers_rejected(entry->host, now_ns);
    if (count)
        connect_tell_rejected(entry->host, target.text, pending->descent.kept ? 0 : pending->breaker_error,
                              answer.until_ns, count);
    return false;
}

static struct limited about(const struct pending *pending, const char *target)
{
    return (struct limited){.host = pending->entry->host,
                            .target = target,
                            .rule = pending->turn.rule,
                            .params = pending->turn.params,
                            .error = pending->descent.kept ? 0 : pending->turn.error};
}
