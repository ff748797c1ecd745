#include "drive/exchange.h"

#include <errno.h>

#include "base/clock.h"
#include "drive/deadline.h"
#include "drive/handshake.h"
#include "drive/late.h"
#include "drive/pieces.h"
#include "state/latencies.h"
#include "state/process.h"

/* What of the state says how an answer is judged. Without that the same bits say other things, of which one lasts longer. */
#define JUDGEMENT (JUDGING | PREFIX_MASK)
static inline uint32_t without_judgement(uint32_t state)
{
    return state & ~(state & JUDGING ? JUDGEMENT : SECOND_EXCHANGE);
}

/* `transfer` NULL: it came before, at `came_us`; else that is 0. */
static void count_answer(struct descriptor *entry, const struct transfer *transfer, size_t size,
                         bool is_handshake, uint32_t came_us);
static bool is_content(uint32_t state);
static bool is_judged(const struct descriptor *entry, uint32_t state);
static struct prefix_answer judge(const struct descriptor *entry, uint32_t state,
                                  const struct transfer *transfer, size_t result);
static bool judge_parts(const struct failure_prefixes *prefixes, struct prefix_answer *answer,
                        const struct iovec *parts, size_t count, size_t size);
static void judge_messages(const struct failure_prefixes *prefixes, struct prefix_answer *answer,
                           const struct mmsghdr *messages, size_t count);
static void end_judgement(struct descriptor *entry);
static int send_error(int error);
static void tell_about(const struct descriptor *entry, enum event_kind kind, int error);
static void report(struct descriptor *entry, enum breaker_report what, uint64_t now_ns);

bool exchange_begin(struct descriptor *entry, uint64_t now_ns)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    do {
        if (!(state & IDLE))
            return false;
        if (state & TIMED) /* an earlier answer's time may still be there */
            deadline_over(entry);
        atomic_store_explicit(&entry->sent_us, exchange_us(now_ns), memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(&entry->state, &state,
                                                    (without_judgement(state) & ~IDLE) | AWAITING_ANSWER,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if (state & JUDGING) /* whoever goes on has had his answer, and it was none of the failures */
        report(entry, BREAKER_SUCCESS, 0);
    return true;
}

enum admitted exchange_ask(struct descriptor *entry, int fd, uint64_t now_ns)
{
    const struct guard *guard = descriptor_guard(entry);
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    /* What a connect call was admitted for is sent under its ticket. */
    if (!(state & IDLE) || state & (HOLDS_TICKET | HANDED_OVER))
        return ADMITTED;
    const struct host_handle host = entry->host;
    struct breaker_answer answer = breakers_admit(host, &guard->breaker, now_ns);
    if (answer.verdict == BREAKER_ADMIT)
        return ADMITTED;
    if (!transfer_is_same(entry, fd)) {
        if (answer.verdict == BREAKER_PROBE)
            connect_report(host, host.host->target, &guard->breaker, guard->breaker_error, answer.ticket,
                           BREAKER_NEUTRAL, process_next_seed(), guard->is_shadow);
        return NOT_ITS_OWN;
    }
    if (answer.verdict == BREAKER_PROBE) {
        entry->ticket = answer.ticket;
        atomic_fetch_or_explicit(&entry->state, HOLDS_TICKET, memory_order_release);
        host_count(entry->host, HOST_PROBES);
        tell_about(entry, EVENT_PROBE, 0);
        return ADMITTED;
    }
    if (guard->is_shadow) {
        host_count(entry->host, HOST_SHADOWED);
        host_count(entry->host, HOST_WOULD_REJECT);
    }
    uint32_t count = guard->is_shadow ? hosts_sample(entry->host, SAMPLE_REJECTED, EVENT_REJECTED, now_ns)
                                      : breakers_rejected(entry->host, now_ns);
    int error = send_error(guard->breaker_error);
    if (count) {
        struct event event = event_about(EVENT_REJECTED, descriptor_target(entry).text);
        event.time_ns = now_ns;
        event.delay_ns = answer.until_ns > now_ns ? answer.until_ns - now_ns : 0;
        event.error = error;
        event.count = count;
        event.flags = breakers_probing(entry->host) | (guard->is_shadow ? EVENT_SHADOW : 0);
        tell(&event);
    }
    if (!guard->is_shadow)
        errno = error;
    return guard->is_shadow ? ADMITTED : NOT_ADMITTED;
}

void exchange_undo(struct descriptor *entry)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    while (state & AWAITING_ANSWER &&
           !atomic_compare_exchange_weak_explicit(&entry->state, &state,
                                                  (state & ~(AWAITING_ANSWER | ANSWER_OVERDUE)) | IDLE,
                                                  memory_order_acq_rel, memory_order_relaxed))
        ;
}

void exchange_answered(struct descriptor *entry, const struct transfer *transfer, ssize_t result)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    if (transfer->flags & MSG_ERRQUEUE)
        return;
    bool is_opening = handshake_is_open(state);
    enum opening_says says =
        is_opening ? handshake_received(entry, transfer, (size_t)result) : OPENING_IS_OVER;
    /* A probe is waited for by all others: in doubt its host is up. */
    if (says == OPENING_DOUBTS && state & HOLDS_TICKET && entry->ticket.is_probe &&
        !handshake_is_followed(entry, transfer->fd))
        exchange_settle(entry);
    if (says == OPENING_PREPARES || says == OPENING_DOUBTS)
        return;
    /* What would close a circuit is worth a look whether the number still leads there; so is, once for each connection, what
     * would make up for failures. */
    bool is_weighty = state & FIRST_EXCHANGE || is_opening
                          ? state & (AWAITING_ANSWER | HOLDS_TICKET) && !exchange_is_unharmed(entry)
                          : state & HOLDS_TICKET && entry->ticket.is_probe;
    if (is_weighty && !transfer_is_same(entry, transfer->fd))
        return;
    count_answer(entry, transfer, (size_t)result, says == OPENING_HANDSHAKES, 0);
}

void exchange_settle(struct descriptor *entry)
{
    uint32_t came_us = 0;
    if (!handshake_is_in_doubt(entry))
        return;
    enum opening_says says = handshake_settled(entry, &came_us);
    if (says != OPENING_PREPARES)
        count_answer(entry, NULL, 0, says == OPENING_HANDSHAKES, came_us);
}

static void count_answer(struct descriptor *entry, const struct transfer *transfer, size_t size,
                         bool is_handshake, uint32_t came_us)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed), after;
    struct prefix_answer answer;
    /* A server that speaks first proves that it is there as well as one that answers. */
    do {
        if (!(state & (AWAITING_ANSWER | HOLDS_TICKET | JUDGING)))
            return;
        answer = (struct prefix_answer){.verdict = PREFIX_NO};
        if (transfer && !is_handshake && is_judged(entry, state))
            answer = judge(entry, state, transfer, size);
        after = (without_judgement(state) & ~(AWAITING_ANSWER | FIRST_EXCHANGE | ANSWER_OVERDUE)) | IDLE;
        if (answer.verdict == PREFIX_NEED_MORE)
            after |= JUDGING | (uint32_t)answer.state << PREFIX_SHIFT;
        else if (state & FIRST_EXCHANGE && state & AWAITING_ANSWER)
            after |= SECOND_EXCHANGE;
    } while (!atomic_compare_exchange_weak_explicit(&entry->state, &state, after, memory_order_acq_rel,
                                                    memory_order_relaxed));
    if (state & TIMED)
        deadline_over(entry);
    if (state & ANSWER_OVERDUE)
        return; /* the exchange has been counted, as a failure */
    uint64_t now = 0;
    if (state & AWAITING_ANSWER) {
        uint32_t sent_us = atomic_load_explicit(&entry->sent_us, memory_order_relaxed);
        now = clock_now_ns();
        came_us = came_us ? came_us : exchange_us(now);
        host_count(entry->host, HOST_ANSWERED);
        if (sent_us && (int32_t)(came_us - sent_us) >= 0)
            host_took(entry->host, LATENCY_FIRST_BYTE, (came_us - sent_us) * NS_PER_US);
        if (state & WAITS_ARE_TIMED && transfer && late_answer(entry)) {
            /* What it begins with no longer matters. */
            state = atomic_load_explicit(&entry->state, memory_order_relaxed);
            if (state & JUDGING)
                atomic_fetch_and_explicit(&entry->state, ~JUDGEMENT, memory_order_acq_rel);
            report(entry, BREAKER_FAILURE, now);
            return;
        }
    }
    if (answer.verdict == PREFIX_NEED_MORE || is_handshake)
        return; /* whoever shakes hands need not be who serves */
    if (answer.verdict == PREFIX_MATCH) {
        host_count(entry->host, HOST_FAILURE_ANSWERS);
        tell_about(entry, EVENT_FAILURE_ANSWER, 0);
    }
    report(entry, answer.verdict == PREFIX_MATCH ? BREAKER_FAILURE : BREAKER_SUCCESS, now);
}

void exchange_broken(struct descriptor *entry, int fd, int error)
{
    /* Only what the peer or the way to it has done: EINVAL, EFAULT and their like are the program's. */
    if (error && error != ECONNRESET && error != EPIPE && error != ETIMEDOUT && error != EHOSTUNREACH &&
        error != ENETUNREACH && error != ECONNREFUSED)
        return;
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    uint32_t after;
    if (error == EPIPE && descriptor_note(fd) & SOCKET_SHUT)
        return; /* by the program itself; the answer to what it had sent may still come */
    if (!(state & (AWAITING_ANSWER | JUDGING)) || !transfer_is_same(entry, fd))
        return;
    end_judgement(entry);
    exchange_settle(entry);
    state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    do {
        if (!(state & AWAITING_ANSWER) || state & ANSWER_OVERDUE)
            return;
        /* After a timeout the answer is still awaited, so that the next wait is bounded too, but it counts once. */
        after = error == ETIMEDOUT ? state | ANSWER_OVERDUE : (state & ~AWAITING_ANSWER) | IDLE;
    } while (!atomic_compare_exchange_weak_explicit(&entry->state, &state, after, memory_order_acq_rel,
                                                    memory_order_relaxed));
    if (state & TIMED && error != ETIMEDOUT)
        deadline_over(entry);
    /* A later exchange that is cut off is mostly a keep-alive connection that went stale: says nothing of the host. */
    bool is_late = state & WAITS_ARE_TIMED && late_answer(entry);
    if (!is_late && error != ETIMEDOUT && !(state & (FIRST_EXCHANGE | CONNECTIONLESS))) {
        if (state & HOLDS_TICKET)
            report(entry, BREAKER_NEUTRAL, 0);
        return;
    }
    int before = errno;
    host_count(entry->host, HOST_UNANSWERED);
    if (error != ETIMEDOUT && !is_late)
        tell_about(entry, EVENT_NO_ANSWER, error);
    report(entry, BREAKER_FAILURE, 0);
    errno = before;
}

void exchange_trusted(struct descriptor *entry)
{
    if (atomic_load_explicit(&entry->state, memory_order_relaxed) & HOLDS_TICKET)
        report(entry, BREAKER_SUCCESS, 0);
}

void exchange_abandoned(struct descriptor *entry)
{
    /* A fork child that closes its copy gives nothing back: the probe is still its parent's. */
    if (entry->owner != process_id())
        return;
    end_judgement(entry);
    exchange_settle(entry);
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    if (state & WAITS_ARE_TIMED && state & AWAITING_ANSWER && late_answer(entry))
        report(entry, BREAKER_FAILURE, 0); /* the program had no more patience, but more than the rule */
    else if (state & HOLDS_TICKET)
        report(entry, is_content(state) ? BREAKER_SUCCESS : BREAKER_NEUTRAL, 0);
}

void exchange_given_up(struct descriptor *entry, int fd)
{
    int error = errno;
    if (atomic_load_explicit(&entry->state, memory_order_relaxed) & (AWAITING_ANSWER | JUDGING) &&
        transfer_is_same(entry, fd)) {
        exchange_abandoned(entry);
        exchange_undo(entry);
    }
    errno = error;
}

/* A handshake was made, and nothing else was asked. */
static bool is_content(uint32_t state)
{
    return handshake_is_open(state) && state & IDLE && !(state & FIRST_EXCHANGE);
}

/* An answer that came late was a failure already. */
static bool is_judged(const struct descriptor *entry, uint32_t state)
{
    return descriptor_guard(entry)->failure_prefixes.count && !(state & ANSWER_OVERDUE);
}

static struct prefix_answer judge(const struct descriptor *entry, uint32_t state,
                                  const struct transfer *transfer, size_t result)
{
    const struct failure_prefixes *prefixes = &descriptor_guard(entry)->failure_prefixes;
    struct prefix_answer answer = {
        .verdict = PREFIX_NEED_MORE,
        .state = state & JUDGING ? (uint16_t)((state & PREFIX_MASK) >> PREFIX_SHIFT) : 0,
    };
    if (transfer->flags & (MSG_PEEK | MSG_OOB)) /* what the answer begins with is still to be received */
        return answer;
    struct pieces pieces;
    pieces_of(&pieces, transfer);
    if (pieces.count)
        judge_parts(prefixes, &answer, pieces.first, pieces.count, result);
    else if (transfer->call == TRANSFER_RECVMMSG && !(transfer->flags & MSG_TRUNC))
        judge_messages(prefixes, &answer, transfer->data, result);
    else /* bytes that nobody gets to see: dropped, or spliced */
        answer.verdict = PREFIX_NO;
    return answer;
}

static void judge_messages(const struct failure_prefixes *prefixes, struct prefix_answer *answer,
                           const struct mmsghdr *messages, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!judge_parts(prefixes, answer, messages[i].msg_hdr.msg_iov, messages[i].msg_hdr.msg_iovlen,
                         messages[i].msg_len))
            return;
}

/* The first `size` bytes of these buffers. True: more are needed. */
static bool judge_parts(const struct failure_prefixes *prefixes, struct prefix_answer *answer,
                        const struct iovec *parts, size_t count, size_t size)
{
    for (size_t i = 0; i < count && size && answer->verdict == PREFIX_NEED_MORE; i++) {
        size_t here = parts[i].iov_len < size ? parts[i].iov_len : size;
        if (here)
            *answer = prefix_judge(prefixes, answer->state, parts[i].iov_base, here);
        size -= here;
    }
    return answer->verdict == PREFIX_NEED_MORE;
}

/* No more of the answer comes, or nobody reads on: so far it was none of the failures. */
static void end_judgement(struct descriptor *entry)
{
    if (atomic_load_explicit(&entry->state, memory_order_relaxed) & JUDGING &&
        atomic_fetch_and_explicit(&entry->state, ~JUDGEMENT, memory_order_acq_rel) & JUDGING)
        report(entry, BREAKER_SUCCESS, 0);
}

/* What a send may return on a connection that is there. Programs take a reset one for stale, and connect anew; then they
 * are told the rule's error. EPIPE would come with a signal. */
static int send_error(int error)
{
    return error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH ? error : ECONNRESET;
}

static void tell_about(const struct descriptor *entry, enum event_kind kind, int error)
{
    struct event event = event_about(kind, descriptor_target(entry).text);
    event.error = error;
    event.flags = descriptor_guard(entry)->is_shadow ? EVENT_SHADOW : 0;
    tell(&event);
}

bool exchange_is_unharmed(const struct descriptor *entry)
{
    const struct host *host = __atomic_load_n(&entry->host.host, __ATOMIC_RELAXED);
    return !host || breaker_is_unharmed(atomic_load_explicit(&host->breaker, memory_order_relaxed));
}

/* `now_ns` 0: it is not known. */
static void report(struct descriptor *entry, enum breaker_report what, uint64_t now_ns)
{
    const struct guard *guard = descriptor_guard(entry);
    const struct host_handle host = {__atomic_load_n(&entry->host.host, __ATOMIC_RELAXED), entry->host.key};
    uint32_t before = atomic_load_explicit(&entry->state, memory_order_relaxed);
    if (before & HOLDS_TICKET)
        before = atomic_fetch_and_explicit(&entry->state, ~HOLDS_TICKET, memory_order_acq_rel);
    if (!guard->has_breaker || !host.host)
        return;
    struct breaker_ticket ticket = entry->ticket;
    if (!(before & HOLDS_TICKET)) {
        uint64_t word = atomic_load_explicit(&host.host->breaker, memory_order_relaxed);
        struct breaker_view view = breaker_view(word);
        /* The common case on a healthy connection: nothing to reset, only to count. */
        if (what == BREAKER_SUCCESS && view.state == BREAKER_CLOSED && !view.failures) {
            breakers_succeeded(host, &guard->breaker, 1, now_ns);
            return;
        }
        ticket = (struct breaker_ticket){.generation = view.generation, .is_probe = false};
    }
    connect_report(host, descriptor_target(entry).text, &guard->breaker,
                   guard->has_ladder ? CONNECT_LADDER : guard->breaker_error, ticket, what,
                   process_next_seed(), guard->is_shadow);
}
