/* The answers themselves: which addresses the last lookup of a name gave. One entry for a name and a family, as programs
 * often ask for each family by itself. */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/hash.h"
#include "state/names.h"

#define SETS 128u
#define WAYS 4u

struct answer {
    _Atomic uint32_t sequence; /* odd while it is being written */
    uint32_t count;
    _Atomic uint64_t stamp;     /* grows with each answer; 0: free */
    _Atomic uint64_t name_hash; /* of name and family */
    struct address addresses[ANSWER_MAX];
    char name[NAME_MAX_BYTES];
};

static struct answer (*table)[WAYS];
static _Atomic uint64_t stamps;

static bool open_table(void);
static uint64_t hash_of(const char *name, bool is_v4);
static struct answer *newest(uint64_t hash);
static struct answer *claim(uint64_t hash, uint32_t *sequence);
static void write_answer(const char *name, bool is_v4, const struct address *addresses, unsigned count,
                         uint64_t stamp);
static unsigned read_answer(const char *name, bool is_v4, struct address addresses[ANSWER_MAX],
                            uint64_t *stamp);

void names_answered(const char *name, const struct address *addresses, unsigned count)
{
    char normal[NAME_MAX_BYTES];
    if (!name_normalize(name, normal) || !open_table())
        return;
    uint64_t stamp = 1 + atomic_fetch_add_explicit(&stamps, 1, memory_order_relaxed);
    write_answer(normal, true, addresses, count, stamp);
    write_answer(normal, false, addresses, count, stamp);
}

unsigned names_siblings(const char *name, const struct address *own, struct address *siblings, unsigned most)
{
    struct address addresses[ANSWER_MAX];
    uint64_t stamp;
    unsigned count = read_answer(name, address_is_v4(own), addresses, &stamp), found = 0;
    for (unsigned i = 0; i < count && found < most; i++)
        if (!address_equal(&addresses[i], own))
            siblings[found++] = addresses[i];
    return found;
}

unsigned names_addresses(const char *name, const struct address *own,
                         struct address addresses[2 * ANSWER_MAX])
{
    uint64_t stamp, other_stamp;
    bool is_v4 = address_is_v4(own), has_own = false;
    unsigned count = read_answer(name, is_v4, addresses, &stamp);
    for (unsigned i = 0; i < count; i++)
        has_own |= address_equal(&addresses[i], own);
    if (!has_own)
        return 0;
    unsigned others = read_answer(name, !is_v4, addresses + count, &other_stamp);
    return other_stamp == stamp ? count + others : count;
}

/* What the answer has of one family. If it has none, an earlier answer stays: it was to another question. */
static void write_answer(const char *name, bool is_v4, const struct address *addresses, unsigned count,
                         uint64_t stamp)
{
    unsigned first = 0;
    while (first < count && address_is_v4(&addresses[first]) != is_v4)
        first++;
    if (first == count)
        return;
    uint64_t hash = hash_of(name, is_v4);
    uint32_t sequence;
    struct answer *answer = claim(hash, &sequence);
    if (!answer)
        return;
    atomic_thread_fence(memory_order_release);
    answer->count = 0;
    for (unsigned i = first; i < count && answer->count < ANSWER_MAX; i++)
        if (address_is_v4(&addresses[i]) == is_v4)
            answer->addresses[answer->count++] = addresses[i];
    strcpy(answer->name, name);
    atomic_store_explicit(&answer->name_hash, hash, memory_order_relaxed);
    atomic_store_explicit(&answer->stamp, stamp, memory_order_relaxed);
    atomic_store_explicit(&answer->sequence, sequence + 2, memory_order_release);
}

/* Gives how many; 0 also where no stable copy could be had in three tries. */
static unsigned read_answer(const char *name, bool is_v4, struct address addresses[ANSWER_MAX],
                            uint64_t *stamp)
{
    *stamp = 0;
    if (!__atomic_load_n(&table, __ATOMIC_ACQUIRE))
        return 0;
    uint64_t hash = hash_of(name, is_v4);
    size_t size = strnlen(name, NAME_MAX_BYTES - 1) + 1;
    for (int tries = 0; tries < 3; tries++) {
        const struct answer *answer = newest(hash);
        if (!answer)
            return 0;
        uint32_t before = atomic_load_explicit(&answer->sequence, memory_order_acquire);
        if (before & 1)
            continue;
        /* What is read here may be half of one answer and half of another; then it is not used. */
        unsigned count = answer->count < ANSWER_MAX ? answer->count : ANSWER_MAX;
        memcpy(addresses, answer->addresses, count * sizeof *addresses);
        *stamp = atomic_load_explicit(&answer->stamp, memory_order_relaxed);
        bool is_meant = memcmp(answer->name, name, size) == 0;
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&answer->sequence, memory_order_relaxed) == before)
            return is_meant ? count : 0;
    }
    return 0;
}

/* A place to write to: the name's own, else the oldest. One that is being written is passed over: its writer may be
 * another thread with another answer (the newer stamp wins), or may never come back (siglongjmp out of the lookup, or
 * a fork while it wrote). */
static struct answer *claim(uint64_t hash, uint32_t *sequence)
{
    struct answer *set = table[hash % SETS];
    for (unsigned tries = 0; tries < WAYS; tries++) {
        struct answer *place = NULL;
        for (unsigned i = 0; i < WAYS; i++) {
            if (atomic_load_explicit(&set[i].sequence, memory_order_relaxed) & 1)
                continue;
            if (atomic_load_explicit(&set[i].name_hash, memory_order_relaxed) == hash) {
                place = &set[i];
                break;
            }
            if (!place || atomic_load_explicit(&set[i].stamp, memory_order_relaxed) <
                              atomic_load_explicit(&place->stamp, memory_order_relaxed))
                place = &set[i];
        }
        if (!place)
            return NULL;
        *sequence = atomic_load_explicit(&place->sequence, memory_order_relaxed);
        if (!(*sequence & 1) &&
            atomic_compare_exchange_strong_explicit(&place->sequence, sequence, *sequence + 1,
                                                    memory_order_acq_rel, memory_order_relaxed))
            return place;
    }
    return NULL;
}

static struct answer *newest(uint64_t hash)
{
    struct answer *set = table[hash % SETS], *best = NULL;
    uint64_t best_stamp = 0;
    for (unsigned i = 0; i < WAYS; i++) {
        uint64_t stamp = atomic_load_explicit(&set[i].stamp, memory_order_relaxed);
        if (stamp <= best_stamp || atomic_load_explicit(&set[i].name_hash, memory_order_relaxed) != hash ||
            atomic_load_explicit(&set[i].sequence, memory_order_relaxed) & 1)
            continue;
        best = &set[i];
        best_stamp = stamp;
    }
    return best;
}

static uint64_t hash_of(const char *name, bool is_v4)
{
    return hash_bytes(name, strnlen(name, NAME_MAX_BYTES - 1), is_v4 ? 4 : 6);
}

/* In mapped memory, touched only where names are. */
static bool open_table(void)
{
    if (__atomic_load_n(&table, __ATOMIC_ACQUIRE))
        return true;
    int error = errno;
    void *memory = mmap(NULL, sizeof(struct answer[SETS][WAYS]), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = error;
    if (memory == MAP_FAILED)
        return false;
    struct answer(*none)[WAYS] = NULL;
    if (!__atomic_compare_exchange_n(&table, &none, memory, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        munmap(memory, sizeof(struct answer[SETS][WAYS]));
    return true;
}
