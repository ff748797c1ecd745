#include "state/faults.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include "rules/fault_names.h"
#include "rules/pattern.h"
#include "state/fault_site.h"
#include "state/pool.h"
#include "state/process.h"
#include "state/recorder.h"

#define ARMED_MAX       256u /* faults that this process has known, those of old rule files too */
#define TARGETS_MAX     1024u
#define TARGET_REACH    16u
#define FLOWS_PER_CHUNK 64u
#define CHUNKS_MAX      1024u
#define STEERING_SHIFT  62
#define TIME_MASK       ((UINT64_C(1) << STEERING_SHIFT) - 1)

static struct armed_fault *_Atomic armed[ARMED_MAX];

/* How many connections there were to each target. */
static struct {
    _Atomic uint64_t target, count;
} targets[TARGETS_MAX];

/* Flows come from chunks, each with a bit for every flow that is taken. */
static struct chunk {
    _Atomic uint64_t taken;
    struct flow flows[FLOWS_PER_CHUNK];
} * _Atomic chunks[CHUNKS_MAX];
struct flow *_Atomic *flows_attached;
static const _Atomic uint64_t never_steered;
const _Atomic uint64_t *faults_steered = &never_steered;

static _Atomic uint64_t own_seed, process_path;
static uint32_t forks;

static struct armed_fault *armed_of(const struct fault *fault);
static uint64_t hash_of(const struct fault_params *params);
static struct armed_fault *armed_as(const char *name, const struct fault_params *params,
                                    const char *const *callers, uint32_t caller_count);
static uint64_t next_connection(uint64_t target);
static struct flow *with_fault(struct flow *flow, const struct fault *fault);
static void begin_flow(struct flow *flow, const char *text, uint32_t operations);
static struct flow *take_flow(void);
static bool has_jumped(const struct flow_side *side, uintptr_t frame);
static void leave(struct flow *flow);
static void give_back(struct flow *flow);
static void find_table(void);

bool faults_are_possible;

void faults_found(const struct ruleset *set)
{
    struct segment *segment = segment_current;
    uint32_t count = fault_names(set);
    if (set->fault_count)
        __atomic_store_n(&faults_are_possible, true, __ATOMIC_RELAXED);
    if (segment)
        __atomic_store_n(&faults_steered, &segment->faults_steered, __ATOMIC_RELEASE);
    if (!settings.are_faults_armed)
        return;
    struct event event = {.kind = EVENT_FAULTS_ARMED, .count = count, .delay_ns = faults_seed()};
    recorder_note(&event);
    if (!settings.has_seed) /* else who has set it knows it */
        recorder_log(&event);
    for (uint32_t i = 0; i < count; i++) {
        struct named_fault named = fault_name(set, i);
        if (named.fault)
            armed_of(named.fault);
        else
            fault_of_function(named.name, &named.function->faults.params);
    }
}

bool faults_are_armed(const struct ruleset *rules)
{
    if (!rules->fault_count)
        return false;
    if (settings.are_faults_armed)
        return true;
    struct segment *segment = segment_current;
    return segment && atomic_load_explicit(&segment->faults_steered, memory_order_relaxed);
}

/* The segment may have been lost, and another one be in its place. */
static struct fault_slot *slot_of(const struct armed_fault *fault)
{
    uint64_t key = fault->params.identity | 1;
    struct segment *segment = segment_current;
    if (fault->slot && atomic_load_explicit(&fault->slot->key, memory_order_relaxed) != key)
        return segment ? fault_slot_find(segment, fault->name, fault->params.identity) : NULL;
    return fault->slot;
}

bool fault_is_armed(const struct armed_fault *fault)
{
    uint64_t word = fault->slot ? atomic_load_explicit(&fault->slot->steering, memory_order_relaxed) : 0;
    if (!word)
        return settings.are_faults_armed;
    switch (fault_steering_of(word, clock_now_ns(), NULL)) {
    case FAULT_ON_BY_HAND:
        return true;
    case FAULT_OFF_BY_HAND:
        return false;
    case FAULT_AS_ARMED:
        break;
    }
    return settings.are_faults_armed;
}

/* Who switches one on by hand wants to see it. */
bool fault_is_shadow(const struct armed_fault *fault)
{
    if (!settings.are_faults_shadow)
        return false;
    uint64_t word = fault->slot ? atomic_load_explicit(&fault->slot->steering, memory_order_relaxed) : 0;
    return !word || fault_steering_of(word, clock_now_ns(), NULL) != FAULT_ON_BY_HAND;
}

struct armed_fault *fault_of_function(const char *name, const struct fault_params *params)
{
    return armed_as(name, params, NULL, 0);
}

bool fault_is_for(const struct armed_fault *fault, const struct fault_params *params)
{
    return fault->hash == hash_of(params);
}

bool fault_take_turn(struct armed_fault *fault)
{
    uint64_t fired = atomic_load_explicit(&fault->fired, memory_order_relaxed);
    do {
        if (fault->params.times && fired >= fault->params.times)
            return false;
    } while (fault->params.times &&
             !atomic_compare_exchange_weak_explicit(&fault->fired, &fired, fired + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

uint64_t fault_steering_word(enum fault_steering steering, uint64_t until_ns)
{
    return (uint64_t)steering << STEERING_SHIFT | (until_ns & TIME_MASK);
}

enum fault_steering fault_steering_of(uint64_t word, uint64_t now_ns, uint64_t *until_ns)
{
    uint64_t until = word & TIME_MASK;
    uint64_t steering = word >> STEERING_SHIFT;
    if (until_ns)
        *until_ns = until;
    if ((until && now_ns >= until) || steering > FAULT_OFF_BY_HAND)
        return FAULT_AS_ARMED;
    return (enum fault_steering)steering;
}

struct flow *flow_begin(const struct ruleset *rules, const struct target *target, const char *text,
                        uint32_t operations)
{
    struct flow *flow = NULL;
    for (uint32_t i = 0; i < rules->fault_count; i++) {
        const struct fault *fault = &rules->faults[i];
        if (fault->params.operations & operations && fault_matches(fault, target, process_program()))
            flow = with_fault(flow, fault);
    }
    if (!flow)
        return NULL;
    flow->is_message = target && target->protocol == PROTOCOL_UDP;
    begin_flow(flow, text, operations);
    return flow;
}

struct flow *flow_begin_unconnected(const struct ruleset *rules)
{
    const uint32_t operations = FAULT_ON(FAULT_SEND) | FAULT_ON(FAULT_RECV);
    struct flow *flow = NULL;
    for (uint32_t i = 0; i < rules->fault_count; i++) {
        const struct fault *fault = &rules->faults[i];
        if (fault->params.operations & operations && fault_may_match(fault, PROTOCOL_UDP, process_program()))
            flow = with_fault(flow, fault);
    }
    if (!flow)
        return NULL;
    flow->is_message = flow->is_unconnected = true;
    begin_flow(flow, "udp", operations);
    return flow;
}

/* The flow with that fault too: made with the first one. */
static struct flow *with_fault(struct flow *flow, const struct fault *fault)
{
    struct armed_fault *known = armed_of(fault);
    if (known && !flow)
        flow = take_flow();
    if (!known || !flow || flow->count == FLOW_FAULTS_MAX) {
        segment_passed(PASSED_NO_MEMORY);
        return flow;
    }
    flow->faults[flow->count++].fault = known;
    flow->operations |= fault->params.operations;
    if (fault->params.kind == FAULT_RESET || fault->params.kind == FAULT_LIMIT_DATA ||
        fault->params.kind == FAULT_CORRUPT)
        flow->is_counting |= fault->params.operations;
    return flow;
}

static void begin_flow(struct flow *flow, const char *text, uint32_t operations)
{
    flow->target = hash_bytes(text, strlen(text), operations);
    flow->connection = next_connection(flow->target);
    flow->made_ns = clock_now_ns();
    for (uint32_t i = 0; i < flow->count; i++) {
        const struct fault_params *params = &flow->faults[i].fault->params;
        bool is_one = params->per == FAULT_PER_PROCESS;
        flow->faults[i].key = fault_key(params, faults_seed(), faults_process(), is_one ? 0 : flow->target,
                                        is_one ? 0 : flow->connection);
    }
    atomic_store_explicit(&flow->last, FAULT_OPERATIONS, memory_order_relaxed);
}

void flow_end(struct flow *flow)
{
    if (flow && atomic_fetch_or_explicit(&flow->users, FLOW_ENDED, memory_order_acq_rel) == 0)
        give_back(flow);
}

bool flow_claim(struct flow *flow, enum fault_operation operation, const struct descriptor *entry,
                const void *frame)
{
    if (!flow)
        return false;
    struct flow_side *side = &flow->sides[operation];
    uintptr_t self = (uintptr_t)pthread_self(), holder = 0;
    /* First in it, then looked at again: who ends it takes it from the entry, and then looks who is in it. */
    atomic_fetch_add_explicit(&flow->users, 1, memory_order_acq_rel);
    bool is_own = !entry || flow_of(entry) == flow;
    bool is_had = is_own && atomic_compare_exchange_strong_explicit(
                                &side->claim, &holder, self, memory_order_acquire, memory_order_relaxed);
    if (!is_had)
        leave(flow); /* what was jumped out of has never left: its place is taken over */
    if (!is_had && !(is_own && holder == self && has_jumped(side, (uintptr_t)frame)))
        return false;
    side->frame = (uintptr_t)frame;
    return true;
}

void flow_release(struct flow *flow, enum fault_operation operation)
{
    flow->sides[operation].frame = 0;
    atomic_store_explicit(&flow->sides[operation].claim, 0, memory_order_release);
    leave(flow);
}

uint8_t *flow_copy(struct flow *flow)
{
    if (!flow->copy)
        flow->copy = map_zeroed(FLOW_COPY_BYTES);
    return flow->copy;
}

struct flow *flow_of(const struct descriptor *entry)
{
    bool has_one = atomic_load_explicit(&entry->state, memory_order_acquire) & FAULTY;
    return has_one ? atomic_load_explicit(&flows_attached[entry->number], memory_order_acquire) : NULL;
}

bool flow_attach(struct descriptor *entry, struct flow *flow)
{
    find_table();
    if (!flows_attached) {
        flow_end(flow);
        return false;
    }
    flow_end(atomic_exchange_explicit(&flows_attached[entry->number], flow, memory_order_acq_rel));
    atomic_fetch_or_explicit(&entry->state, FAULTY, memory_order_release);
    return true;
}

void flow_detach(const struct descriptor *entry)
{
    if (flows_attached && atomic_load_explicit(&entry->state, memory_order_relaxed) & FAULTY)
        flow_end(atomic_exchange_explicit(&flows_attached[entry->number], NULL, memory_order_acq_rel));
}

uint32_t fault_count_site(struct armed_fault *fault, uintptr_t address, bool is_shadow)
{
    struct fault_slot *slot = slot_of(fault);
    if (!slot)
        return 0;
    atomic_fetch_add_explicit(is_shadow ? &slot->would_fire : &slot->fired, 1, memory_order_relaxed);
    struct fault_caller caller = fault_caller_of(address);
    if (!*caller.module)
        return 0;
    uint64_t key = hash_bytes(caller.module, strlen(caller.module), caller.offset) | 1;
    for (uint32_t i = 0; i < FAULT_SITES; i++) {
        struct fault_site *site = &slot->sites[i];
        uint64_t found = 0;
        if (atomic_compare_exchange_strong_explicit(&site->key, &found, key, memory_order_acq_rel,
                                                    memory_order_acquire)) {
            struct text text = text_begin(site->text, sizeof site->text);
            text_add(&text, "%s+0x%lx", caller.module, caller.offset);
            if (*caller.symbol)
                text_add(&text, " (%s)", caller.symbol);
        } else if (found != key) {
            continue;
        }
        atomic_fetch_add_explicit(&site->fired, 1, memory_order_relaxed);
        return i + 1;
    }
    atomic_fetch_add_explicit(&slot->more_sites, 1, memory_order_relaxed);
    return 0;
}

bool fault_is_from(const struct armed_fault *fault, uintptr_t address)
{
    if (!fault->callers[0][0])
        return true;
    struct fault_caller caller = fault_caller_of(address);
    for (unsigned i = 0; i < CALLERS_MAX && fault->callers[i][0]; i++)
        if (pattern_matches(fault->callers[i], caller.module) ||
            strcmp(fault->callers[i], caller.symbol) == 0)
            return true;
    return false;
}

uint64_t faults_seed(void)
{
    if (settings.has_seed)
        return settings.seed;
    uint64_t seed = atomic_load_explicit(&own_seed, memory_order_relaxed);
    if (seed)
        return seed;
    /* Short enough to be typed again. */
    uint64_t drawn = hash_mix(clock_now_ns() ^ (uint64_t)getpid() << 32) % 1000000000 + 1;
    return atomic_compare_exchange_strong_explicit(&own_seed, &seed, drawn, memory_order_relaxed,
                                                   memory_order_relaxed)
               ? drawn
               : seed;
}

uint64_t faults_process(void)
{
    uint64_t path = atomic_load_explicit(&process_path, memory_order_relaxed);
    if (path)
        return path;
    const char *program = process_program();
    path = hash_bytes(program, strlen(program), 0) | 1;
    atomic_store_explicit(&process_path, path, memory_order_relaxed);
    return path;
}

void faults_before_fork(void)
{
    __atomic_fetch_add(&forks, 1, __ATOMIC_RELAXED);
}

void faults_forked(void)
{
    uint64_t path = hash_mix(faults_process() + __atomic_exchange_n(&forks, 0, __ATOMIC_RELAXED)) | 1;
    atomic_store_explicit(&process_path, path, memory_order_relaxed);
}

struct fault_slot *fault_slot_find(struct segment *segment, const char *name, uint64_t identity)
{
    uint64_t key = identity | 1;
    for (uint32_t i = 0; i < FAULT_SLOTS; i++) {
        struct fault_slot *slot = &segment->faults[i];
        uint64_t found = 0;
        if (atomic_compare_exchange_strong_explicit(&slot->key, &found, key, memory_order_acq_rel,
                                                    memory_order_acquire)) {
            struct text text = text_begin(slot->name, sizeof slot->name);
            text_add(&text, "%s", name);
            return slot;
        }
        if (found == key)
            return slot;
    }
    return NULL;
}

static struct armed_fault *armed_of(const struct fault *fault)
{
    return armed_as(fault->name, &fault->params, fault->callers, fault->caller_count);
}

static uint64_t hash_of(const struct fault_params *params)
{
    return hash_bytes(params, sizeof *params, params->identity);
}

/* The copy of it that stays; made if need be. NULL without memory or room. */
static struct armed_fault *armed_as(const char *name, const struct fault_params *params,
                                    const char *const *callers, uint32_t caller_count)
{
    uint64_t hash = hash_of(params);
    for (uint32_t i = 0; i < caller_count; i++)
        hash = hash_bytes(callers[i], strlen(callers[i]), hash);
    for (unsigned i = 0; i < ARMED_MAX; i++) {
        struct armed_fault *known = atomic_load_explicit(&armed[i], memory_order_acquire);
        if (known && known->hash == hash)
            return known;
        if (known)
            continue;
        struct armed_fault *made = map_zeroed(sizeof *made);
        if (!made)
            return NULL;
        memcpy(&made->params, params, sizeof made->params);
        made->hash = hash;
        made->begun_ns = clock_now_ns();
        struct text text = text_begin(made->name, sizeof made->name);
        text_add(&text, "%s", name);
        for (uint32_t n = 0; n < caller_count && n < CALLERS_MAX; n++) {
            text = text_begin(made->callers[n], sizeof made->callers[n]);
            text_add(&text, "%s", callers[n]);
        }
        struct segment *segment = segment_current;
        made->slot = segment ? fault_slot_find(segment, name, params->identity) : NULL;
        if (atomic_compare_exchange_strong_explicit(&armed[i], &known, made, memory_order_acq_rel,
                                                    memory_order_acquire) ||
            known->hash != hash)
            return made; /* a place that was lost to another fault costs its count, no more */
        return known;
    }
    return NULL;
}

/* In a full table, targets that come later are counted together. */
static uint64_t next_connection(uint64_t target)
{
    target |= 1;
    for (uint32_t i = 0; i < TARGET_REACH; i++) {
        uint32_t at = (uint32_t)(target >> 32) + i;
        uint64_t found = 0;
        if (atomic_compare_exchange_strong_explicit(&targets[at % TARGETS_MAX].target, &found, target,
                                                    memory_order_relaxed, memory_order_relaxed) ||
            found == target || i == TARGET_REACH - 1)
            return atomic_fetch_add_explicit(&targets[at % TARGETS_MAX].count, 1, memory_order_relaxed) + 1;
    }
    return 0;
}

static struct flow *take_flow(void)
{
    for (unsigned i = 0; i < CHUNKS_MAX; i++) {
        struct chunk *chunk = atomic_load_explicit(&chunks[i], memory_order_acquire);
        if (!chunk) {
            struct chunk *made = map_zeroed(sizeof *made);
            if (!made)
                return NULL;
            chunk = NULL;
            if (atomic_compare_exchange_strong_explicit(&chunks[i], &chunk, made, memory_order_acq_rel,
                                                        memory_order_acquire))
                chunk = made; /* else that of another thread, and this one is never touched */
        }
        uint64_t taken = atomic_load_explicit(&chunk->taken, memory_order_relaxed);
        while (~taken) {
            unsigned free = (unsigned)__builtin_ctzll(~taken);
            if (!atomic_compare_exchange_weak_explicit(&chunk->taken, &taken, taken | UINT64_C(1) << free,
                                                       memory_order_acq_rel, memory_order_relaxed))
                continue;
            struct flow *flow = &chunk->flows[free];
            memset(flow, 0, offsetof(struct flow, users));
            return flow;
        }
    }
    return NULL;
}

/* Stacks grow down: a call of this thread that is still going on lies above. On a stack of its own a handler cannot tell. */
static bool has_jumped(const struct flow_side *side, uintptr_t frame)
{
    int error = errno;
    stack_t stack;
    bool is_handler = sigaltstack(NULL, &stack) != 0 || stack.ss_flags & SS_ONSTACK;
    errno = error;
    return !is_handler && side->frame && side->frame <= frame;
}

static void leave(struct flow *flow)
{
    if (atomic_fetch_sub_explicit(&flow->users, 1, memory_order_acq_rel) == FLOW_ENDED + 1)
        give_back(flow);
}

/* Several may think that they were the last one in it. */
static void give_back(struct flow *flow)
{
    uint32_t ended = FLOW_ENDED;
    if (!atomic_compare_exchange_strong_explicit(&flow->users, &ended, 0, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return;
    void *copy = flow->copy;
    flow->copy = NULL;
    if (copy)
        munmap(copy, FLOW_COPY_BYTES);
    for (unsigned i = 0; i < CHUNKS_MAX; i++) {
        struct chunk *chunk = atomic_load_explicit(&chunks[i], memory_order_acquire);
        if (!chunk)
            return;
        if (flow < chunk->flows || flow >= chunk->flows + FLOWS_PER_CHUNK)
            continue;
        atomic_fetch_and_explicit(&chunk->taken, ~(UINT64_C(1) << (flow - chunk->flows)),
                                  memory_order_release);
        return;
    }
}

static void find_table(void)
{
    if (flows_attached)
        return;
    struct flow *_Atomic *made = map_zeroed(POOL_ENTRIES_MAX * sizeof *made), *_Atomic *none = NULL;
    if (made)
        __atomic_compare_exchange_n(&flows_attached, &none, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
