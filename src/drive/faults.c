#include "drive/faults.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "drive/tell.h"

static void look_ahead(struct flow *flow, enum fault_operation operation);
static bool fires(struct faulted *faulted, struct flow_fault *here, struct fault_moment *moment);
static bool is_decided_once(const struct fault_params *params);
static void add(struct faulted *faulted, uint32_t number, const struct fault_moment *moment);
static void add_shadow(struct faulted *faulted, uint32_t number, const struct fault_moment *moment);
static bool is_possible(struct faulted *faulted, const struct fault_params *params);
static bool is_due(struct faulted *faulted, uint64_t bytes);
static bool is_time(struct faulted *faulted, uint64_t after_ns, uint32_t number);
static int error_of(const struct faulted *faulted, const struct fault_params *params);
static void not_delayed(struct faulted *faulted);
static struct target_name text_of(const struct faulted *faulted);
static uint64_t now_of(struct faulted *faulted);
static void tell_fault(struct faulted *faulted, uint32_t number, uint64_t delay_ns, int error);
static struct flow_side *side_of(const struct faulted *faulted);

#define SIDE_OF(operation) ((operation) == FAULT_SEND)
#define LOOK_AHEAD         256u

bool faults_begin(struct faulted *faulted, struct flow *flow, enum fault_operation operation,
                  uintptr_t caller, const struct descriptor *entry)
{
    struct flow_side *side = &flow->sides[operation];
    bool is_transfer = operation == FAULT_SEND || operation == FAULT_RECV;
    bool is_first =
        !is_transfer || atomic_load_explicit(&flow->last, memory_order_relaxed) != (uint32_t)operation;
    if (is_transfer)
        atomic_store_explicit(&flow->last, operation, memory_order_relaxed);
    if (!(flow->operations & FAULT_ON(operation)) || !flow_claim(flow, operation, entry, faulted))
        return false;
    uint64_t quiet = atomic_exchange_explicit(&flow->quiet[operation], 0, memory_order_relaxed);
    /* A thread that was counting meanwhile may have left more of them than there were. */
    uint64_t number = side->number - quiet > side->least ? side->number - quiet : side->least;
    side->number = side->least = number + 1;
    faulted->flow = flow;
    faulted->entry = entry;
    faulted->operation = operation;
    faulted->caller = caller;
    faulted->plan = fault_plan_begin(0);
    faulted->break_ns = FAULT_NEVER;
    faulted->most = UINT64_MAX;
    faulted->slice = UINT64_MAX;
    faulted->gap_ns = 0;
    faulted->rates = faulted->corrupts = faulted->closes = 0;
    faulted->is_first = is_first;
    for (uint32_t i = 0; i < flow->count; i++) {
        struct flow_fault *here = &flow->faults[i];
        const struct fault_params *params = &here->fault->params;
        if (!(params->operations & FAULT_ON(operation)) || faulted->without >> i & 1 ||
            !fault_is_armed(here->fault) || (params->per == FAULT_PER_EXCHANGE && !is_first))
            continue;
        struct fault_moment moment = {.key = here->key + operation, .number = number};
        if (fires(faulted, here, &moment))
            add(faulted, i, &moment);
    }
    /* Of many peers, one is silent: what comes from the others is not held up. */
    if (flow->is_unconnected && faulted->plan.action == FAULT_SILENCE)
        faulted->plan.action = FAULT_DROP;
    bool is_nothing = !faulted->plan.fired && !faulted->corrupts && !faulted->closes &&
                      faulted->most == UINT64_MAX && faulted->break_ns == FAULT_NEVER &&
                      !(flow->is_counting & FAULT_ON(operation));
    if (is_nothing) {
        look_ahead(flow, operation);
        faults_end(faulted);
    }
    return !is_nothing;
}

/* How many of the next operations meet nothing for certain: mostly that is known beforehand, and they need not be asked about
 * one by one. */
static void look_ahead(struct flow *flow, enum fault_operation operation)
{
    uint32_t quiet = LOOK_AHEAD;
    if (flow->is_unconnected)
        return; /* whom the next ones are about is not known */
    flow->steered = atomic_load_explicit(faults_steered, memory_order_relaxed);
    for (uint32_t i = 0; i < flow->count && quiet; i++) {
        const struct flow_fault *here = &flow->faults[i];
        const struct fault_params *params = &here->fault->params;
        if (!(params->operations & FAULT_ON(operation)) || here->decided == DOES_NOT)
            continue;
        bool is_steered =
            here->fault->slot && atomic_load_explicit(&here->fault->slot->steering, memory_order_relaxed);
        if (is_decided_once(params) || params->has_counts || params->has_schedule || is_steered ||
            here->fault->callers[0][0])
            return;
        quiet = fault_quiet(params, here->key + operation, flow->sides[operation].number, quiet);
    }
    atomic_store_explicit(&flow->quiet[operation], quiet, memory_order_relaxed);
    flow->sides[operation].number += quiet;
}

uint64_t faults_room(struct faulted *faulted, uint64_t now_ns)
{
    struct flow *flow = faulted->flow;
    uint64_t room = faulted->most < faulted->slice ? faulted->most : faulted->slice, due_ns = 0;
    for (uint32_t left = faulted->rates; left; left &= left - 1) {
        struct flow_fault *here = &flow->faults[__builtin_ctz(left)];
        const struct fault_params *params = &here->fault->params;
        uint64_t word =
            atomic_load_explicit(&here->bucket[SIDE_OF(faulted->operation)], memory_order_relaxed);
        uint64_t bytes = fault_bucket_room(params, word, now_ns), sip = fault_bucket_sip(params);
        if (bytes < sip) {
            uint64_t until_ns = fault_bucket_due_ns(params, word, sip);
            due_ns = until_ns > due_ns ? until_ns : due_ns;
            bytes = 0;
        }
        room = bytes < room ? bytes : room;
    }
    if (!room)
        faulted->due_ns = due_ns > now_ns ? due_ns : now_ns + 1;
    return room;
}

void faults_moved(struct faulted *faulted, uint64_t bytes, uint64_t now_ns)
{
    struct flow *flow = faulted->flow;
    struct flow_side *side = side_of(faulted);
    side->bytes += bytes;
    if (faulted->most != UINT64_MAX)
        faulted->most -= bytes < faulted->most ? bytes : faulted->most;
    for (uint32_t left = faulted->rates; left && bytes; left &= left - 1) {
        struct flow_fault *here = &flow->faults[__builtin_ctz(left)];
        _Atomic uint64_t *bucket = &here->bucket[SIDE_OF(faulted->operation)];
        atomic_store_explicit(bucket,
                              fault_bucket_take(&here->fault->params,
                                                atomic_load_explicit(bucket, memory_order_relaxed), bytes,
                                                now_ns),
                              memory_order_relaxed);
    }
}

void faults_end(struct faulted *faulted)
{
    flow_release(faulted->flow, faulted->operation);
}

/* It cannot be carried out here: counted, and told once for each connection. */
static void not_delayed(struct faulted *faulted)
{
    int before = errno;
    segment_passed(PASSED_NOT_DELAYED);
    if (!faulted->flow->is_told) {
        faulted->flow->is_told = true;
        struct event event = event_about(EVENT_PASSED_THROUGH, text_of(faulted).text);
        event.count = PASSED_NOT_DELAYED;
        tell(&event);
    }
    errno = before;
}

static struct target_name text_of(const struct faulted *faulted)
{
    struct target_name name;
    if (!faulted->text)
        return descriptor_target(faulted->entry);
    struct text text = text_begin(name.text, sizeof name.text);
    text_add(&text, "%s", faulted->text);
    return name;
}

/* When it began; the clock is read only for those that want to know. */
static uint64_t now_of(struct faulted *faulted)
{
    if (!faulted->plan.begun_ns)
        faulted->plan.begun_ns = clock_now_ns();
    return faulted->plan.begun_ns;
}

static bool fires(struct faulted *faulted, struct flow_fault *here, struct fault_moment *moment)
{
    struct armed_fault *fault = here->fault;
    const struct fault_params *params = &fault->params;
    bool is_once = is_decided_once(params);
    if (is_once && here->decided != UNDECIDED && !params->has_schedule)
        return here->decided == FIRES;
    if (params->has_schedule) {
        uint64_t begun_ns = atomic_load_explicit(&fault->begun_ns, memory_order_relaxed);
        moment->running_ns = now_of(faulted) - begun_ns;
        if (is_once && here->decided != UNDECIDED)
            return here->decided == FIRES && fault_is_on(params, moment->running_ns);
        if (!fault_is_on(params, moment->running_ns))
            return false;
    }
    if (!fault_is_from(fault, faulted->caller))
        return false;
    if (is_once) {
        moment->key = here->key;
        moment->number = 0;
    }
    if (params->has_counts)
        moment->ordinal = atomic_fetch_add_explicit(&fault->seen, 1, memory_order_relaxed);
    bool has_fired = fault_fires(params, moment);
    if (has_fired &&
        (params->kind == FAULT_LOSS || params->kind == FAULT_DUPLICATE || params->kind == FAULT_REORDER))
        has_fired = fault_takes_datagram(params, moment, &here->memory[faulted->operation]);
    has_fired = has_fired && fault_take_turn(fault);
    if (is_once)
        here->decided = has_fired ? FIRES : DOES_NOT;
    return has_fired;
}

static bool is_decided_once(const struct fault_params *params)
{
    return params->per == FAULT_PER_CONNECTION || params->per == FAULT_PER_PROCESS;
}

/* It fires, for this operation. What takes effect only once so many bytes are through, or after a time, waits for that. */
static void add(struct faulted *faulted, uint32_t number, const struct fault_moment *moment)
{
    struct flow_fault *here = &faulted->flow->faults[number];
    const struct fault_params *params = &here->fault->params;
    if (!is_possible(faulted, params))
        return;
    if (fault_is_shadow(here->fault)) {
        add_shadow(faulted, number, moment);
        return;
    }
    uint64_t delay_ns = faulted->plan.delay_ns;
    switch (params->kind) {
    case FAULT_RESET:
        if (!is_due(faulted, params->reset.after_bytes) || !is_time(faulted, params->reset.after_ns, number))
            return;
        break;
    case FAULT_LIMIT_DATA:
        if (!is_due(faulted, params->limit_bytes))
            return;
        break;
    case FAULT_BANDWIDTH:
        faulted->rates |= 1u << number;
        break;
    case FAULT_SLICE:
        faulted->slice = fault_slice_bytes(params, moment);
        faulted->gap_ns = params->slice.gap_ns;
        if (faulted->operation == FAULT_RECV && !faulted->is_first && faulted->may_wait)
            faulted->plan.delay_ns += faulted->gap_ns;
        else if (faulted->gap_ns && !faulted->may_wait)
            not_delayed(faulted);
        delay_ns = faulted->plan.delay_ns;
        break;
    case FAULT_SLOW_CLOSE:
        faulted->closes = number + 1;
        return;
    case FAULT_CORRUPT:
        faulted->corrupts |= 1u << number;
        return;
    default:
        break;
    }
    if (!fault_plan_add(&faulted->plan, params, number, moment, &here->memory[faulted->operation]))
        return;
    if (!is_decided_once(params) || !here->has_told)
        tell_fault(faulted, number, faulted->plan.delay_ns - delay_ns, error_of(faulted, params));
    here->has_told = true;
}

/* Can it happen to this operation at all, here? */
/* It would happen, and is told as often as if it did. How late a reset or an end would have come is not waited for. */
static void add_shadow(struct faulted *faulted, uint32_t number, const struct fault_moment *moment)
{
    struct flow_fault *here = &faulted->flow->faults[number];
    const struct fault_params *params = &here->fault->params;
    uint64_t moved = side_of(faulted)->bytes; /* nothing is cut off there */
    uint64_t delay_ns = params->kind == FAULT_LATENCY
                            ? fault_delay_ns(params, moment, &here->memory[faulted->operation])
                            : params->close_delay_ns;
    if ((params->kind == FAULT_RESET && moved < params->reset.after_bytes) ||
        (params->kind == FAULT_LIMIT_DATA && moved < params->limit_bytes))
        return;
    if (!is_decided_once(params) || !here->has_told)
        tell_fault(faulted, number, delay_ns, error_of(faulted, params));
    here->has_told = true;
}

static bool is_possible(struct faulted *faulted, const struct fault_params *params)
{
    bool is_message = faulted->flow->is_message;
    switch (params->kind) {
    case FAULT_LATENCY:
    case FAULT_BANDWIDTH:
    case FAULT_TIMEOUT:
        if (is_message && faulted->operation == FAULT_CONNECT)
            return false; /* nothing is sent, so nothing takes time */
        if (!faulted->may_wait && !(params->kind == FAULT_TIMEOUT && faulted->may_hang)) {
            not_delayed(faulted);
            return false;
        }
        return true;
    case FAULT_RESET:
    case FAULT_SLICE:
    case FAULT_LIMIT_DATA:
    case FAULT_SLOW_CLOSE:
        return !is_message;
    case FAULT_LOSS:
    case FAULT_DUPLICATE:
    case FAULT_REORDER:
        return is_message;
    default:
        return true;
    }
}

/* Are so many bytes through? If not, this operation moves no more than those. */
static bool is_due(struct faulted *faulted, uint64_t bytes)
{
    uint64_t moved = side_of(faulted)->bytes;
    if (moved >= bytes)
        return true;
    faulted->most = bytes - moved < faulted->most ? bytes - moved : faulted->most;
    return false;
}

/* Is the connection so old? If not, it is broken off when it is. */
static bool is_time(struct faulted *faulted, uint64_t after_ns, uint32_t number)
{
    uint64_t at_ns = faulted->flow->made_ns + after_ns;
    if (!after_ns || now_of(faulted) >= at_ns)
        return true;
    if (at_ns < faulted->break_ns) {
        faulted->break_ns = at_ns;
        faulted->breaks = number;
    }
    return false;
}

/* What the call gets of it, for events. */
static int error_of(const struct faulted *faulted, const struct fault_params *params)
{
    switch (params->kind) {
    case FAULT_ERROR:
        return params->error;
    case FAULT_RESET:
        return ECONNRESET;
    case FAULT_TIMEOUT:
        return faulted->operation == FAULT_RESOLVE ? EAI_AGAIN : ETIMEDOUT;
    case FAULT_INTERRUPT:
        return EINTR;
    case FAULT_EXHAUST:
        return EMFILE;
    default:
        return 0;
    }
}

uint64_t faults_close_delay_ns(struct faulted *faulted)
{
    if (!faulted->closes)
        return 0;
    uint64_t delay_ns = faulted->flow->faults[faulted->closes - 1].fault->params.close_delay_ns;
    if (faulted->may_wait)
        tell_fault(faulted, faulted->closes - 1, delay_ns, 0);
    else
        not_delayed(faulted);
    uint64_t seen_ns = faulted->may_wait ? delay_ns : 0;
    faulted->flow->faults[faulted->closes - 1].decided = DOES_NOT; /* it ends once */
    return seen_ns;
}

void faults_corrupt(struct faulted *faulted, const struct iovec *parts, size_t count, size_t bytes)
{
    for (uint32_t left = faulted->corrupts; left; left &= left - 1) {
        uint32_t number = (uint32_t)__builtin_ctz(left);
        struct flow_fault *here = &faulted->flow->faults[number];
        uint64_t offset = side_of(faulted)->bytes;
        size_t rest = bytes, changed = 0;
        for (size_t i = 0; i < count && rest; i++) {
            size_t size = parts[i].iov_len < rest ? parts[i].iov_len : rest;
            changed += fault_corrupt(&here->fault->params, here->key, offset, parts[i].iov_base, size);
            offset += size;
            rest -= size;
        }
        if (changed)
            tell_fault(faulted, number, 0, 0);
    }
}

void faults_broken(struct faulted *faulted)
{
    tell_fault(faulted, faulted->breaks, 0, ECONNRESET);
}

static void tell_fault(struct faulted *faulted, uint32_t number, uint64_t delay_ns, int error)
{
    struct armed_fault *fault = faulted->flow->faults[number].fault;
    int before = errno;
    struct event event = event_about(EVENT_FAULT, text_of(faulted).text);
    memcpy(event.fault, fault->name, sizeof event.fault - 1);
    event.event_operation = (uint16_t)faulted->operation;
    bool is_shadow = fault_is_shadow(fault);
    event.attempts =
        (uint16_t)(fault_count_site(fault, faulted->caller, is_shadow) | (uint32_t)fault->params.kind << 8);
    event.flags = is_shadow ? EVENT_SHADOW : 0;
    event.delay_ns = delay_ns;
    event.error = error;
    event.count = (uint32_t)faulted->flow->connection;
    tell(&event);
    errno = before;
}

static struct flow_side *side_of(const struct faulted *faulted)
{
    return &faulted->flow->sides[faulted->operation];
}
