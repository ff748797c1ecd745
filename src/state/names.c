#include "state/names.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/hash.h"

#define SETS 256u
#define WAYS 4u

#define LOOKERS 8u

#define LOOKED_UP_HERE (1ull << 63) /* in a rank: by this thread */

struct entry {
    _Atomic uint32_t sequence; /* odd while it is being written */
    uint32_t length;
    _Atomic uint64_t stamp; /* grows with each use; 0: free */
    _Atomic uint64_t name_hash;
    struct address address;
    /* The threads that looked this up lately: 32 bits of who, 32 bits of the stamp. Hints, read without the lock. */
    _Atomic uint64_t lookers[LOOKERS];
    char name[NAME_MAX_BYTES];
};

static struct entry (*table)[WAYS];
static _Atomic uint64_t stamps;

/* The last name that this thread looked up. */
static __thread uint32_t last_name_hash __attribute__((tls_model("initial-exec")));

static bool find(const struct address *address, char name[NAME_MAX_BYTES]);
static struct entry *set_of(const struct address *address);
static struct entry *claim(uint64_t hash, const struct address *address, uint32_t *sequence);
static bool open_table(void);
static bool is_for(const struct entry *entry, const struct address *address);
static uint64_t rank_of(const struct entry *entry);
static bool copy_name(const struct entry *entry, const struct address *address, char name[NAME_MAX_BYTES]);
static void note_looker(struct entry *entry, uint64_t stamp);
static uint64_t this_thread(void);

void names_remember(const char *name, const struct address *address)
{
    char normal[NAME_MAX_BYTES];
    if (!name_normalize(name, normal) || !open_table())
        return;
    uint64_t hash = hash_bytes(normal, strlen(normal), 0);
    uint32_t sequence;
    struct entry *place = claim(hash, address, &sequence);
    if (!place)
        return;
    atomic_thread_fence(memory_order_release);
    if (place->name_hash != hash || !address_equal(&place->address, address))
        for (unsigned i = 0; i < LOOKERS; i++)
            atomic_store_explicit(&place->lookers[i], 0, memory_order_relaxed);
    place->address = *address;
    atomic_store_explicit(&place->name_hash, hash, memory_order_relaxed);
    place->length = (uint32_t)strlen(normal);
    memcpy(place->name, normal, place->length + 1);
    uint64_t stamp = 1 + atomic_fetch_add_explicit(&stamps, 1, memory_order_relaxed);
    note_looker(place, stamp);
    atomic_store_explicit(&place->stamp, stamp, memory_order_relaxed);
    atomic_store_explicit(&place->sequence, sequence + 2, memory_order_release);
}

bool names_find(const struct address *address, char name[NAME_MAX_BYTES])
{
    return __atomic_load_n(&table, __ATOMIC_ACQUIRE) && find(address, name);
}

static __attribute__((noinline)) bool find(const struct address *address, char name[NAME_MAX_BYTES])
{
    const struct entry *set = set_of(address);
    for (int tries = 0; tries < 3; tries++) {
        const struct entry *best = NULL;
        uint64_t best_rank = 0;
        for (unsigned i = 0; i < WAYS; i++) {
            uint64_t rank = is_for(&set[i], address) ? rank_of(&set[i]) : 0;
            if (rank <= best_rank)
                continue;
            best = &set[i];
            best_rank = rank;
        }
        if (!best)
            return false;
        if (copy_name(best, address, name))
            return true;
    }
    return false;
}

unsigned names_others(const struct address *address, const char *name, char others[NAMES_MAX][NAME_MAX_BYTES])
{
    if (!__atomic_load_n(&table, __ATOMIC_ACQUIRE))
        return 0;
    const struct entry *set = set_of(address);
    unsigned found = 0;
    for (unsigned i = 0; i < WAYS; i++) {
        if (!is_for(&set[i], address))
            continue;
        if (rank_of(&set[i]) >= LOOKED_UP_HERE)
            return 0;
        if (found < NAMES_MAX && copy_name(&set[i], address, others[found]) &&
            strcmp(others[found], name) != 0)
            found++;
    }
    return found;
}

void names_looked_up(const char *name)
{
    char normal[NAME_MAX_BYTES];
    if (name_normalize(name, normal))
        last_name_hash = (uint32_t)hash_bytes(normal, strlen(normal), 0);
}

bool name_normalize(const char *name, char normal[NAME_MAX_BYTES])
{
    size_t length = strnlen(name, NAME_MAX_BYTES + 1);
    if (length && name[length - 1] == '.')
        length--;
    if (length == 0 || length >= NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < length; i++)
        normal[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] + 32) : name[i];
    normal[length] = '\0';
    return true;
}

static struct entry *set_of(const struct address *address)
{
    return table[hash_bytes(address->bytes, sizeof address->bytes, 0) % SETS];
}

/* In mapped memory, touched only where names are. */
static bool open_table(void)
{
    if (__atomic_load_n(&table, __ATOMIC_ACQUIRE))
        return true;
    int error = errno;
    void *memory = mmap(NULL, sizeof(struct entry[SETS][WAYS]), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = error;
    if (memory == MAP_FAILED)
        return false;
    struct entry(*none)[WAYS] = NULL;
    if (!__atomic_compare_exchange_n(&table, &none, memory, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        munmap(memory, sizeof(struct entry[SETS][WAYS]));
    return true;
}

/* A place to write to: its own, else the oldest. One that is being written is passed over: its writer may be another
 * thread (the newer stamp wins), or may never come back (siglongjmp out of the lookup, or a fork while it wrote). */
static struct entry *claim(uint64_t hash, const struct address *address, uint32_t *sequence)
{
    struct entry *set = set_of(address);
    for (unsigned tries = 0; tries < WAYS; tries++) {
        struct entry *place = NULL;
        for (unsigned i = 0; i < WAYS; i++) {
            uint64_t stamp = atomic_load_explicit(&set[i].stamp, memory_order_relaxed);
            if (atomic_load_explicit(&set[i].sequence, memory_order_relaxed) & 1)
                continue;
            if (stamp && atomic_load_explicit(&set[i].name_hash, memory_order_relaxed) == hash &&
                address_equal(&set[i].address, address)) {
                place = &set[i];
                break;
            }
            if (!place || stamp < atomic_load_explicit(&place->stamp, memory_order_relaxed))
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

/* A look at the live entry: copy_name makes sure. */
static bool is_for(const struct entry *entry, const struct address *address)
{
    return atomic_load_explicit(&entry->stamp, memory_order_relaxed) &&
           !(atomic_load_explicit(&entry->sequence, memory_order_relaxed) & 1) &&
           address_equal(&entry->address, address);
}

/* The name that this thread looked up last, else the latest of those that it ever looked up, else the latest. */
static uint64_t rank_of(const struct entry *entry)
{
    if ((uint32_t)atomic_load_explicit(&entry->name_hash, memory_order_relaxed) == last_name_hash)
        return UINT64_MAX;
    uint64_t self = this_thread();
    for (unsigned i = 0; i < LOOKERS; i++) {
        uint64_t looker = atomic_load_explicit(&entry->lookers[i], memory_order_relaxed);
        if (looker >> 32 == self)
            return LOOKED_UP_HERE | (uint32_t)looker;
    }
    return atomic_load_explicit(&entry->stamp, memory_order_relaxed);
}

static bool copy_name(const struct entry *entry, const struct address *address, char name[NAME_MAX_BYTES])
{
    uint32_t before = atomic_load_explicit(&entry->sequence, memory_order_acquire);
    if (before & 1)
        return false;
    bool is_still = address_equal(&entry->address, address);
    uint32_t length = entry->length;
    if (length < NAME_MAX_BYTES)
        memcpy(name, entry->name, length + 1);
    atomic_thread_fence(memory_order_acquire);
    return is_still && length < NAME_MAX_BYTES &&
           atomic_load_explicit(&entry->sequence, memory_order_relaxed) == before;
}

static void note_looker(struct entry *entry, uint64_t stamp)
{
    uint64_t self = this_thread();
    unsigned place = 0;
    for (unsigned i = 0; i < LOOKERS; i++) {
        uint64_t looker = entry->lookers[i], oldest = entry->lookers[place];
        if (looker && looker >> 32 == self) {
            place = i;
            break;
        }
        if ((uint32_t)looker < (uint32_t)oldest)
            place = i;
    }
    atomic_store_explicit(&entry->lookers[place], self << 32 | (uint32_t)stamp, memory_order_relaxed);
}

/* 32 bits, never 0. A thread that has ended may have had the same, which is where its stack was used again. */
static uint64_t this_thread(void)
{
    return hash_mix((uint64_t)(uintptr_t)&last_name_hash) >> 32 | 1;
}
