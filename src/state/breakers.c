#include "state/breakers.h"

#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include "policy/call.h"
#include "policy/sample.h"
#include "state/process.h"

/* A program that is rejected 10 000 times a second would leave nothing else in the recorder. */
#define TOLD_PER_S 10

/* Of a path, wherever it is said: connects and descriptors have room for so much. */
#define PATH_SHOWN 51u

/* How often a process asks whether the one that holds a probe is still there. */
#define ASK_EVERY_NS (10 * NS_PER_MS)

static _Atomic uint64_t asked_ns;

static void add_path(struct text *text, const char *path);
static uint64_t key_of(const struct rule *rule, const struct target *target);
static struct host *claim(struct host *host, uint64_t old, uint64_t key, const struct rule *rule,
                          const struct target *target);
static struct host *evict(struct segment *segment, uint64_t key, const struct rule *rule,
                          const struct target *target);
static bool is_still(struct host_handle handle);
static void note_used(struct host *host, uint64_t now_ns);
static bool is_held(struct host_handle handle, struct breaker_answer *answer);
static void forget_addresses(struct host *host);
static void forget_times(struct host *host);
static bool give_orphan_back(struct host_handle handle, const struct breaker_params *params, uint64_t *word,
                             uint64_t now_ns);
static void empty(_Atomic uint64_t words[WINDOW_BUCKETS]);
static void add_to_window(_Atomic uint64_t *words, uint64_t window_ns, struct window_sum add,
                          uint64_t now_ns);
static struct window_sum total_of(_Atomic uint64_t *words, uint64_t window_ns, uint64_t now_ns);

struct host_handle hosts_find(const struct rule *rule, const struct target *target, uint64_t now_ns)
{
    uint64_t key = key_of(rule, target);
    struct host_handle handle = {.host = NULL, .key = key};
    struct segment *segment = segment_current;
    if (!segment)
        return handle;
    for (uint64_t i = 0; i < HOST_REACH && !handle.host; i++) {
        struct host *host = &segment->hosts[(key + i) % HOSTS_MAX];
        uint64_t found = atomic_load_explicit(&host->key, memory_order_acquire);
        if (found == 0)
            handle.host = claim(host, 0, key, rule, target);
        else if (found == key)
            handle.host = host;
    }
    if (!handle.host)
        handle.host = evict(segment, key, rule, target);
    if (!handle.host)
        segment_passed(PASSED_TABLE_FULL);
    else
        note_used(handle.host, now_ns);
    return handle;
}

bool hosts_again(struct host_handle handle, uint64_t now_ns)
{
    if (!is_still(handle))
        return false;
    note_used(handle.host, now_ns);
    return true;
}

static void note_used(struct host *host, uint64_t now_ns)
{
    if (atomic_load_explicit(&host->used_ns, memory_order_relaxed) != now_ns)
        atomic_store_explicit(&host->used_ns, now_ns, memory_order_relaxed);
}

struct breaker_answer breakers_admit(struct host_handle handle, const struct breaker_params *params,
                                     uint64_t now_ns)
{
    struct breaker_answer answer = {.verdict = BREAKER_ADMIT};
    if (!is_still(handle) || is_held(handle, &answer))
        return answer;
    uint64_t word = atomic_load_explicit(&handle.host->breaker, memory_order_acquire);
    do
        answer = breaker_admit(word, params, now_ns);
    while ((answer.word != word &&
            !atomic_compare_exchange_weak_explicit(&handle.host->breaker, &word, answer.word,
                                                   memory_order_acq_rel, memory_order_acquire)) ||
           (answer.verdict == BREAKER_REJECT && give_orphan_back(handle, params, &word, now_ns)));
    if (answer.verdict == BREAKER_PROBE)
        atomic_store_explicit(&handle.host->probe_holder,
                              (uint64_t)answer.ticket.generation << 32 | (uint32_t)process_id(),
                              memory_order_relaxed);
    return answer;
}

struct breaker_answer breakers_look(struct host_handle handle, const struct breaker_params *params,
                                    uint64_t now_ns)
{
    struct breaker_answer answer = {.verdict = BREAKER_ADMIT};
    if (!is_still(handle) || is_held(handle, &answer))
        return answer;
    uint64_t word = atomic_load_explicit(&handle.host->breaker, memory_order_acquire);
    do
        answer = breaker_admit(word, params, now_ns);
    while (answer.verdict == BREAKER_REJECT && give_orphan_back(handle, params, &word, now_ns));
    if (answer.verdict == BREAKER_PROBE) {
        answer.verdict = BREAKER_REJECT;
        answer.until_ns = now_ns;
    }
    return answer;
}

uint64_t breakers_open_until(struct host_handle handle, const struct breaker_params *params, uint64_t now_ns)
{
    if (!is_still(handle))
        return 0;
    enum steering steering = breakers_steering(handle.host);
    if (steering != STEERING_AUTO)
        return steering == STEERING_OPEN ? NEVER : 0;
    uint64_t word = atomic_load_explicit(&handle.host->breaker, memory_order_acquire);
    uint64_t until_ns = breaker_open_until(word, params, now_ns);
    if (until_ns || breaker_is_closed(word))
        return until_ns;
    struct breaker_answer answer = breakers_look(handle, params, now_ns);
    return answer.verdict == BREAKER_REJECT && answer.until_ns > now_ns ? answer.until_ns : 0;
}

uint16_t breakers_probing(struct host_handle handle)
{
    if (!is_still(handle))
        return 0;
    struct breaker_view view =
        breaker_view(atomic_load_explicit(&handle.host->breaker, memory_order_acquire));
    return view.state == BREAKER_HALF_OPEN && view.until_ns ? EVENT_PROBING : 0;
}

uint32_t breakers_probe_holder(const struct host *host)
{
    struct breaker_view view = breaker_view(atomic_load_explicit(&host->breaker, memory_order_acquire));
    uint64_t holder = atomic_load_explicit(&host->probe_holder, memory_order_relaxed);
    bool is_out = view.state == BREAKER_HALF_OPEN && view.until_ns && holder >> 32 == view.generation;
    return is_out ? (uint32_t)holder : 0;
}

struct breaker_change breakers_ended(struct host_handle handle, const struct breaker_params *params,
                                     struct breaker_ticket ticket, enum breaker_report report, uint64_t seed,
                                     uint64_t now_ns, uint32_t *failures)
{
    struct breaker_change change = {.transition = BREAKER_STAYED};
    if (failures)
        *failures = 0;
    if (!is_still(handle) || breakers_steering(handle.host) != STEERING_AUTO)
        return change;
    if (report == BREAKER_SUCCESS)
        forget_addresses(handle.host);
    struct window_sum recent = {0, 0};
    if (params->failure_ratio_ppm && report != BREAKER_NEUTRAL) {
        bool has_failed = report == BREAKER_FAILURE;
        add_to_window(handle.host->failures, params->window_ns,
                      (struct window_sum){.events = 1, .marked = has_failed}, now_ns);
        if (has_failed)
            recent = total_of(handle.host->failures, params->window_ns, now_ns);
    }
    struct random random = {seed};
    uint64_t word = atomic_load_explicit(&handle.host->breaker, memory_order_acquire);
    do {
        change = breaker_ended(word, params, ticket, report, recent, now_ns, &random);
    } while (change.word != word &&
             !atomic_compare_exchange_weak_explicit(&handle.host->breaker, &word, change.word,
                                                    memory_order_acq_rel, memory_order_acquire));
    if (failures)
        *failures = breaker_view(word).failures + 1;
    if (change.transition == BREAKER_RECOVERED) /* or the failures from before would open it again at once */
        empty(handle.host->failures);
    return change;
}

void breakers_succeeded(struct host_handle handle, const struct breaker_params *params, uint32_t count,
                        uint64_t now_ns)
{
    if (!is_still(handle))
        return;
    forget_addresses(handle.host);
    if (!params->failure_ratio_ppm)
        return;
    if (!now_ns) /* for every answer on every connection: it does for buckets of a tenth of a second and more */
        now_ns = clock_coarse_ns();
    add_to_window(handle.host->failures, params->window_ns, (struct window_sum){.events = count}, now_ns);
}

uint32_t hosts_sample(struct host_handle handle, enum sample_kind kind, enum event_kind event,
                      uint64_t now_ns)
{
    if (!is_still(handle))
        return 1;
    _Atomic uint64_t *told = &handle.host->told[kind];
    struct sample_answer answer = {.count = 0};
    uint64_t word = atomic_load_explicit(told, memory_order_relaxed);
    if (sample_leaves_out(word, TOLD_PER_S, now_ns)) {
        atomic_fetch_add_explicit(told, 1, memory_order_relaxed);
    } else {
        do
            answer = sample_take(word, TOLD_PER_S, now_ns);
        while (!atomic_compare_exchange_weak_explicit(told, &word, answer.word, memory_order_relaxed,
                                                      memory_order_relaxed));
    }
    if (answer.count == 0 && segment_current)
        atomic_fetch_add_explicit(&segment_current->events[event], 1, memory_order_relaxed);
    return answer.count;
}

uint32_t breakers_rejected(struct host_handle handle, uint64_t now_ns)
{
    host_count(handle, HOST_REJECTED);
    return hosts_sample(handle, SAMPLE_REJECTED, EVENT_REJECTED, now_ns);
}

enum breaker_report breakers_addresses_failed(struct host_handle handle, const struct addresses_tried *tried,
                                              uint64_t now_ns)
{
    if (!is_still(handle))
        return tried->is_ours ? BREAKER_NEUTRAL : BREAKER_FAILURE;
    struct addresses_answer answer;
    uint64_t word = atomic_load_explicit(&handle.host->failed_addresses, memory_order_relaxed);
    do
        answer = addresses_failed(word, tried, now_ns);
    while (answer.word != word &&
           !atomic_compare_exchange_weak_explicit(&handle.host->failed_addresses, &word, answer.word,
                                                  memory_order_relaxed, memory_order_relaxed));
    return answer.report;
}

void breakers_steer(struct host *host, enum steering steering)
{
    /* Given back it begins anew. Outcomes are heard again only after that. */
    if (steering == STEERING_AUTO && breakers_steering(host) != STEERING_AUTO)
        breakers_reset(host);
    atomic_store_explicit(&host->steering, (uint32_t)steering, memory_order_release);
}

enum steering breakers_steering(const struct host *host)
{
    uint32_t said = atomic_load_explicit(&host->steering, memory_order_acquire);
    return said == STEERING_OPEN || said == STEERING_CLOSED ? (enum steering)said : STEERING_AUTO;
}

void breakers_reset(struct host *host)
{
    uint64_t word = atomic_load_explicit(&host->breaker, memory_order_acquire);
    while (!atomic_compare_exchange_weak_explicit(&host->breaker, &word, breaker_reset(word),
                                                  memory_order_acq_rel, memory_order_acquire))
        ;
    forget_addresses(host);
    empty(host->failures);
}

void budget_call(struct host_handle handle, const struct budget_params *params, uint64_t now_ns)
{
    if (params->window_ns && is_still(handle))
        add_to_window(handle.host->retries, params->window_ns, (struct window_sum){.events = 1}, now_ns);
}

bool budget_take(struct host_handle handle, const struct budget_params *params, uint64_t now_ns)
{
    if (!params->window_ns || !is_still(handle))
        return true;
    if (!budget_allows(params, total_of(handle.host->retries, params->window_ns, now_ns)))
        return false;
    add_to_window(handle.host->retries, params->window_ns, (struct window_sum){.marked = 1}, now_ns);
    return true;
}

void target_text(const struct target *target, char *buffer, size_t capacity)
{
    struct text text = text_begin(buffer, capacity);
    if (target->path) {
        add_path(&text, target->path);
    } else if (target->name) {
        /* The port matters more than the last labels of a very long name. */
        text_add(&text, "%.*s", (int)capacity - 8, target->name);
    } else if (target->has_address) {
        struct address_text address = address_text(&target->address);
        bool needs_brackets = target->port && !address_is_v4(&target->address);
        text_add(&text, needs_brackets ? "[%s]" : "%s", address.text);
    }
    if (target->port)
        text_add(&text, ":%u", target->port);
}

/* Its end says more than its beginning. What would steer a terminal is left out. */
static void add_path(struct text *text, const char *path)
{
    size_t length = strlen(path);
    if (length > PATH_SHOWN) {
        text_add(text, "...");
        path += length - (PATH_SHOWN - 3);
    }
    for (; *path; path++)
        text_add(text, "%c", (unsigned char)*path < 0x20 || *path == 0x7f ? '?' : *path);
}

/* By path, or by name where there is one (all its addresses are one host), under the rule's name and the breaker's parameters:
 * processes with another version of the rule do not disturb each other. */
static uint64_t key_of(const struct rule *rule, const struct target *target)
{
    uint64_t seed = rule->identity ^ hash_mix(rule->breaker_params_hash ^ target->port);
    uint64_t key = target->path   ? hash_bytes(target->path, strlen(target->path), hash_mix(seed))
                   : target->name ? hash_bytes(target->name, strlen(target->name), seed)
                                  : hash_bytes(target->address.bytes, sizeof target->address.bytes, ~seed);
    return key ? key : 1;
}

static __attribute__((noinline)) struct host *claim(struct host *host, uint64_t old, uint64_t key,
                                                    const struct rule *rule, const struct target *target)
{
    uint64_t expected = old;
    if (!atomic_compare_exchange_strong_explicit(&host->key, &expected, key, memory_order_acq_rel,
                                                 memory_order_acquire))
        return expected == key ? host : NULL;
    if (old) {
        atomic_store_explicit(&host->breaker, 0, memory_order_relaxed);
        atomic_store_explicit(&host->failed_addresses, 0, memory_order_relaxed);
        for (unsigned i = 0; i < SAMPLE_KINDS; i++)
            atomic_store_explicit(&host->told[i], 0, memory_order_relaxed);
        atomic_store_explicit(&host->steering, STEERING_AUTO, memory_order_relaxed);
        atomic_store_explicit(&host->served, 0, memory_order_relaxed);
        atomic_store_explicit(&host->stays_until_ns, 0, memory_order_relaxed);
        empty(host->failures);
        empty(host->retries);
        for (unsigned i = 0; i < HOST_COUNT_KINDS; i++)
            atomic_store_explicit(&host->counts[i], 0, memory_order_relaxed);
        forget_times(host);
    }
    target_text(target, host->target, sizeof host->target);
    struct text text = text_begin(host->rule, sizeof host->rule);
    text_add(&text, "%s", rule->name);
    return host;
}

/* No free place within reach: the host that was idle longest gives way, if its circuit is closed and nobody holds it. */
static __attribute__((noinline)) struct host *evict(struct segment *segment, uint64_t key,
                                                    const struct rule *rule, const struct target *target)
{
    struct host *idlest = NULL;
    uint64_t idlest_key = 0, idlest_used = UINT64_MAX;
    for (uint64_t i = 0; i < HOST_REACH; i++) {
        struct host *host = &segment->hosts[(key + i) % HOSTS_MAX];
        uint64_t found = atomic_load_explicit(&host->key, memory_order_acquire);
        uint64_t used = atomic_load_explicit(&host->used_ns, memory_order_relaxed);
        uint64_t word = atomic_load_explicit(&host->breaker, memory_order_relaxed);
        if (breaker_view(word).state == BREAKER_CLOSED && breakers_steering(host) == STEERING_AUTO &&
            used < idlest_used) {
            idlest = host;
            idlest_key = found;
            idlest_used = used;
        }
    }
    return idlest ? claim(idlest, idlest_key, key, rule, target) : NULL;
}

static bool is_still(struct host_handle handle)
{
    return handle.host && atomic_load_explicit(&handle.host->key, memory_order_acquire) == handle.key;
}

/* Is the circuit in somebody's hands? Then that is the answer. */
static bool is_held(struct host_handle handle, struct breaker_answer *answer)
{
    enum steering steering = breakers_steering(handle.host);
    if (steering == STEERING_AUTO)
        return false;
    uint64_t word = atomic_load_explicit(&handle.host->breaker, memory_order_acquire);
    *answer = (struct breaker_answer){
        .word = word,
        .verdict = steering == STEERING_OPEN ? BREAKER_REJECT : BREAKER_ADMIT,
        /* Should it be given back while the call is under way, this is of before: it begins another generation. */
        .ticket = {.generation = breaker_view(word).generation},
        .until_ns = steering == STEERING_OPEN ? NEVER : 0,
    };
    return true;
}

/* One that answers is enough for the name. */
static void forget_addresses(struct host *host)
{
    if (atomic_load_explicit(&host->failed_addresses, memory_order_relaxed))
        atomic_store_explicit(&host->failed_addresses, 0, memory_order_relaxed);
}

static void forget_times(struct host *host)
{
    for (unsigned kind = 0; kind < LATENCY_KINDS; kind++) {
        for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
            atomic_store_explicit(&host->latencies[kind].counts[i], 0, memory_order_relaxed);
        atomic_store_explicit(&host->latencies[kind].sum_ns, 0, memory_order_relaxed);
    }
    atomic_store_explicit(&host->spared_ns, 0, memory_order_relaxed);
}

/* A probe whose process is gone reports no more: another call may take its place. This is asked only now
 * and then, for it takes a system call. `word` is what was read, and is read again. */
static bool give_orphan_back(struct host_handle handle, const struct breaker_params *params, uint64_t *word,
                             uint64_t now_ns)
{
    uint64_t holder = atomic_load_explicit(&handle.host->probe_holder, memory_order_relaxed);
    if (!holder || now_ns < atomic_load_explicit(&asked_ns, memory_order_relaxed) + ASK_EVERY_NS)
        return false;
    struct breaker_view view = breaker_view(*word);
    if (view.state != BREAKER_HALF_OPEN || !view.until_ns || holder >> 32 != view.generation)
        return false;
    uint64_t asked = atomic_load_explicit(&asked_ns, memory_order_relaxed);
    if (now_ns < asked + ASK_EVERY_NS || !atomic_compare_exchange_strong(&asked_ns, &asked, now_ns) ||
        !process_is_gone((pid_t)(uint32_t)holder))
        return false;
    struct random unused = {0};
    struct breaker_ticket ticket = {.generation = view.generation, .is_probe = true};
    struct breaker_change change =
        breaker_ended(*word, params, ticket, BREAKER_NEUTRAL, (struct window_sum){0, 0}, now_ns, &unused);
    if (atomic_compare_exchange_strong_explicit(&handle.host->breaker, word, change.word,
                                                memory_order_acq_rel, memory_order_acquire))
        *word = change.word;
    return true;
}

static void empty(_Atomic uint64_t words[WINDOW_BUCKETS])
{
    for (unsigned i = 0; i < WINDOW_BUCKETS; i++)
        atomic_store_explicit(&words[i], 0, memory_order_relaxed);
}

static void add_to_window(_Atomic uint64_t *words, uint64_t window_ns, struct window_sum add, uint64_t now_ns)
{
    uint64_t tick = window_tick(window_ns, now_ns);
    _Atomic uint64_t *word = &words[window_bucket(tick)];
    uint64_t before = atomic_load_explicit(word, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(word, &before, window_add(before, tick, add),
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

static struct window_sum total_of(_Atomic uint64_t *words, uint64_t window_ns, uint64_t now_ns)
{
    uint64_t copy[WINDOW_BUCKETS];
    for (unsigned i = 0; i < WINDOW_BUCKETS; i++)
        copy[i] = atomic_load_explicit(&words[i], memory_order_relaxed);
    return window_total(copy, window_ns, now_ns);
}
