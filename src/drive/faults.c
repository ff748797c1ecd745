#include "drive/faults.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "drive/tell.h"

static bool fires(struct faulted *faulted, struct flow_fault *here, struct fault_moment *moment);
static bool is_decided_once(const struct fault_params *params);
static void add(struct faulted *faulted, uint32_t number, const struct fault_moment *moment);
static void not_delayed(struct faulted *faulted);
static struct target_name text_of(const struct faulted *faulted);
static uint64_t now_of(struct faulted *faulted);
static void tell_fault(struct faulted *faulted, uint32_t number, uint64_t delay_ns, int error);
static struct flow_side *side_of(const struct faulted *faulted);

#define SIDE_OF(operation) ((operation) == FAULT_SEND)

bool faults_begin(struct faulted *faulted, struct flow *flow, enum fault_operation operation,
                  uintptr_t caller, const struct descriptor *entry)
{
    struct flow_side *side = &flow->sides[operation];
    bool is_first = side->is_turn;
    if (operation == FAULT_SEND || operation == FAULT_RECV) {
        flow->sides[operation == FAULT_SEND ? FAULT_RECV : FAULT_SEND].is_turn = true;
        side->is_turn = false;
    }
    if (!(flow->operations & FAULT_ON(operation)) ||
        atomic_exchange_explicit(&side->claim, 1, memory_order_acquire))
        return false; /* or another thread is at it */
    faulted->flow = flow;
    faulted->entry = entry;
    faulted->operation = operation;
    faulted->caller = caller;
    faulted->plan = fault_plan_begin(0);
    faulted->break_ns = FAULT_NEVER;
    faulted->most = UINT64_MAX;
    faulted->rates = 0;
    for (uint32_t i = 0; i < flow->count; i++) {
        struct flow_fault *here = &flow->faults[i];
        const struct fault_params *params = &here->fault->params;
        if (!(params->operations & FAULT_ON(operation)) || !fault_is_armed(here->fault) ||
            (params->per == FAULT_PER_EXCHANGE && !is_first))
            continue;
        struct fault_moment moment = {.key = here->key + operation, .number = side->number};
        if (fires(faulted, here, &moment))
            add(faulted, i, &moment);
    }
    side->number++;
    bool is_nothing = !faulted->plan.fired && !faulted->rates && faulted->most == UINT64_MAX &&
                      faulted->break_ns == FAULT_NEVER && !(flow->is_counting & FAULT_ON(operation));
    if (is_nothing)
        faults_end(faulted);
    return !is_nothing;
}

uint64_t faults_room(struct faulted *faulted, uint64_t now_ns)
{
    struct flow *flow = faulted->flow;
    uint64_t room = faulted->most, due_ns = 0;
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
    atomic_store_explicit(&side_of(faulted)->claim, 0, memory_order_release);
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
    if (has_fired && params->times) {
        uint64_t fired = atomic_load_explicit(&fault->fired, memory_order_relaxed);
        do {
            has_fired = fired < params->times;
        } while (has_fired &&
                 !atomic_compare_exchange_weak_explicit(&fault->fired, &fired, fired + 1,
                                                        memory_order_relaxed, memory_order_relaxed));
    }
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
    struct flow *flow = faulted->flow;
    struct flow_fault *here = &flow->faults[number];
    const struct fault_params *params = &here->fault->params;
    bool is_once = is_decided_once(params);
    uint64_t delay_ns = faulted->plan.delay_ns;
    int error = 0;
    bool takes_time =
        params->kind == FAULT_LATENCY || params->kind == FAULT_TIMEOUT || params->kind == FAULT_BANDWIDTH;
    if (takes_time && faulted->operation == FAULT_CONNECT && flow->is_message)
        return; /* nothing is sent, so nothing takes time */
    bool may_be = faulted->may_wait || (params->kind == FAULT_TIMEOUT && faulted->may_hang);
    if (takes_time && !may_be) {
        not_delayed(faulted);
        return;
    }
    if (params->kind == FAULT_RESET) {
        uint64_t bytes = side_of(faulted)->bytes, after_bytes = params->reset.after_bytes;
        uint64_t at_ns = flow->made_ns + params->reset.after_ns;
        if (bytes < after_bytes) {
            faulted->most = after_bytes - bytes < faulted->most ? after_bytes - bytes : faulted->most;
            return;
        }
        if (params->reset.after_ns && now_of(faulted) < at_ns) {
            faulted->break_ns = at_ns < faulted->break_ns ? at_ns : faulted->break_ns;
            faulted->breaks = number;
            return;
        }
    } else if (params->kind == FAULT_BANDWIDTH) {
        faulted->rates |= 1u << number;
    }
    if (!fault_plan_add(&faulted->plan, params, number, moment, &here->memory[faulted->operation]))
        return;
    if (params->kind == FAULT_ERROR)
        error = params->error;
    else if (params->kind == FAULT_RESET)
        error = ECONNRESET;
    else if (params->kind == FAULT_TIMEOUT)
        error = faulted->operation == FAULT_RESOLVE ? EAI_AGAIN : ETIMEDOUT;
    if (!is_once || !here->has_told)
        tell_fault(faulted, number, faulted->plan.delay_ns - delay_ns, error);
    here->has_told = true;
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
    event.event_site = (uint16_t)fault_count_site(fault, faulted->caller);
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
