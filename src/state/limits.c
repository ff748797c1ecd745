#include "state/limits.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include "state/segment.h"

#define LIMITS_MAX 512u
#define REACH      16u

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "words that signal handlers change must be lock-free");

static struct limit *table;

static struct limit *open_table(void);
static struct limit *claim(struct limit *limit, uint64_t old, uint64_t key);
static struct limit *evict(struct limit *limits, uint64_t key);
static bool is_still(struct limit_handle handle);
static void change(struct limit_handle handle, uint64_t (*changed)(uint64_t word), uint64_t now_ns);

struct limit_handle limits_find(uint64_t key, uint64_t now_ns)
{
    struct limit_handle handle = {.limit = NULL, .key = key};
    struct limit *limits = open_table();
    if (!limits)
        return handle;
    for (uint64_t i = 0; i < REACH && !handle.limit; i++) {
        struct limit *limit = &limits[(key + i) % LIMITS_MAX];
        uint64_t found = atomic_load_explicit(&limit->key, memory_order_acquire);
        if (found == 0)
            handle.limit = claim(limit, 0, key);
        else if (found == key)
            handle.limit = limit;
    }
    if (!handle.limit)
        handle.limit = evict(limits, key);
    if (!handle.limit) {
        segment_passed(PASSED_TABLE_FULL);
        return handle;
    }
    uint64_t never = 0;
    atomic_compare_exchange_strong_explicit(&handle.limit->changed_ns, &never, now_ns, memory_order_relaxed,
                                            memory_order_relaxed);
    return handle;
}

struct limit_handle limits_known(uint64_t key)
{
    struct limit_handle handle = {.limit = NULL, .key = key};
    struct limit *limits = __atomic_load_n(&table, __ATOMIC_ACQUIRE);
    for (uint64_t i = 0; limits && i < REACH && !handle.limit; i++) {
        struct limit *limit = &limits[(key + i) % LIMITS_MAX];
        if (atomic_load_explicit(&limit->key, memory_order_acquire) == key)
            handle.limit = limit;
    }
    return handle;
}

struct limit_answer limits_enter(struct limit_handle handle, const struct limit_params *params,
                                 uint64_t begun_ns, uint64_t now_ns)
{
    struct limit_answer answer = {.verdict = LIMIT_ADMIT};
    if (!is_still(handle))
        return answer;
    uint64_t word = atomic_load_explicit(&handle.limit->places, memory_order_acquire);
    do
        answer = limit_enter(word, params, begun_ns, now_ns);
    while (answer.word != word &&
           !atomic_compare_exchange_weak_explicit(&handle.limit->places, &word, answer.word,
                                                  memory_order_acq_rel, memory_order_acquire));
    if (answer.verdict == LIMIT_ADMIT)
        atomic_store_explicit(&handle.limit->changed_ns, now_ns, memory_order_relaxed);
    return answer;
}

struct limit_answer limits_take(struct limit_handle handle, const struct limit_params *params,
                                uint64_t begun_ns, uint64_t now_ns)
{
    struct limit_answer answer = {.verdict = LIMIT_ADMIT};
    if (!is_still(handle))
        return answer;
    uint64_t word = atomic_load_explicit(&handle.limit->tokens, memory_order_relaxed);
    do
        answer = limit_take(word, params, begun_ns, now_ns);
    while (answer.word != word &&
           !atomic_compare_exchange_weak_explicit(&handle.limit->tokens, &word, answer.word,
                                                  memory_order_relaxed, memory_order_relaxed));
    return answer;
}

void limits_connected(struct limit_handle handle, uint64_t now_ns)
{
    change(handle, limit_connected, now_ns);
}

void limits_left(struct limit_handle handle, uint64_t now_ns)
{
    change(handle, limit_left, now_ns);
}

void limits_ended(struct limit_handle handle, uint64_t now_ns)
{
    change(handle, limit_ended, now_ns);
}

uint64_t limits_places(struct limit_handle handle)
{
    return is_still(handle) ? atomic_load_explicit(&handle.limit->places, memory_order_acquire) : 0;
}

bool limits_correct(struct limit_handle handle, uint64_t before, uint32_t live, uint64_t longest_ns,
                    uint64_t now_ns)
{
    if (!is_still(handle))
        return false;
    uint64_t changed_ns = atomic_load_explicit(&handle.limit->changed_ns, memory_order_relaxed);
    bool is_quiet = now_ns > changed_ns && now_ns - changed_ns > longest_ns;
    return atomic_compare_exchange_strong_explicit(&handle.limit->places, &before,
                                                   limit_corrected(before, live, is_quiet),
                                                   memory_order_acq_rel, memory_order_relaxed);
}

/* The kernel empties it in a fork child, keys and all: handles from before the fork lead nowhere there. */
static struct limit *open_table(void)
{
    struct limit *limits = __atomic_load_n(&table, __ATOMIC_ACQUIRE);
    if (limits)
        return limits;
    int error = errno;
    size_t size = LIMITS_MAX * sizeof *limits;
    limits = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (limits == MAP_FAILED) {
        errno = error;
        return NULL;
    }
    madvise(limits, size, MADV_WIPEONFORK); /* an old kernel's children begin with their parent's counts */
    errno = error;
    struct limit *other = NULL;
    if (__atomic_compare_exchange_n(&table, &other, limits, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return limits;
    munmap(limits, size);
    return other;
}

static struct limit *claim(struct limit *limit, uint64_t old, uint64_t key)
{
    uint64_t expected = old;
    if (!atomic_compare_exchange_strong_explicit(&limit->key, &expected, key, memory_order_acq_rel,
                                                 memory_order_acquire))
        return expected == key ? limit : NULL;
    if (old) {
        atomic_store_explicit(&limit->places, 0, memory_order_relaxed);
        atomic_store_explicit(&limit->tokens, 0, memory_order_relaxed);
        atomic_store_explicit(&limit->changed_ns, 0, memory_order_relaxed);
    }
    return limit;
}

/* No free place within reach: of those that nobody uses, the one that was idle longest gives way. */
static struct limit *evict(struct limit *limits, uint64_t key)
{
    struct limit *idlest = NULL;
    uint64_t idlest_key = 0, idlest_ns = UINT64_MAX;
    for (uint64_t i = 0; i < REACH; i++) {
        struct limit *limit = &limits[(key + i) % LIMITS_MAX];
        uint64_t found = atomic_load_explicit(&limit->key, memory_order_acquire);
        struct limit_view view = limit_view(atomic_load_explicit(&limit->places, memory_order_relaxed));
        uint64_t changed_ns = atomic_load_explicit(&limit->changed_ns, memory_order_relaxed);
        if (view.pending == 0 && view.live == 0 && changed_ns < idlest_ns) {
            idlest = limit;
            idlest_key = found;
            idlest_ns = changed_ns;
        }
    }
    return idlest ? claim(idlest, idlest_key, key) : NULL;
}

static bool is_still(struct limit_handle handle)
{
    return handle.limit && atomic_load_explicit(&handle.limit->key, memory_order_acquire) == handle.key;
}

static void change(struct limit_handle handle, uint64_t (*changed)(uint64_t word), uint64_t now_ns)
{
    if (!is_still(handle))
        return;
    uint64_t word = atomic_load_explicit(&handle.limit->places, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&handle.limit->places, &word, changed(word),
                                                  memory_order_acq_rel, memory_order_relaxed))
        ;
    atomic_store_explicit(&handle.limit->changed_ns, now_ns, memory_order_relaxed);
}
