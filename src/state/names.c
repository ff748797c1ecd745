#include "state/names.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/hash.h"

#define SETS 256u
#define WAYS 4u

struct entry {
    _Atomic uint32_t sequence; /* odd while it is being written */
    uint32_t length;
    _Atomic uint64_t stamp; /* grows with each use; 0: free */
    uint64_t name_hash;
    struct address address;
    char name[NAME_MAX_BYTES];
};
_Static_assert(sizeof(struct entry) <= 300, "a reader's copy is small enough for any stack");

static struct entry (*table)[WAYS];
static _Atomic uint64_t stamps;

/* The last name that this thread looked up. */
static __thread uint64_t last_name_hash __attribute__((tls_model("initial-exec")));

static struct entry *set_of(const struct address *address);
static bool open_table(void);
static bool copy_entry(const struct entry *entry, struct entry *copy);

void names_remember(const char *name, const struct address *address)
{
    char normal[NAME_MAX_BYTES];
    if (!name_normalize(name, normal) || !open_table())
        return;
    uint64_t hash = hash_bytes(normal, strlen(normal), 0);
    struct entry *set = set_of(address);
    struct entry *place = &set[0];
    for (unsigned i = 0; i < WAYS; i++) {
        uint64_t stamp = atomic_load_explicit(&set[i].stamp, memory_order_relaxed);
        if (stamp && set[i].name_hash == hash && address_equal(&set[i].address, address)) {
            place = &set[i];
            break;
        }
        if (stamp < atomic_load_explicit(&place->stamp, memory_order_relaxed))
            place = &set[i];
    }
    uint32_t sequence = atomic_load_explicit(&place->sequence, memory_order_relaxed);
    if (sequence & 1 || !atomic_compare_exchange_strong_explicit(&place->sequence, &sequence, sequence + 1,
                                                                 memory_order_acq_rel, memory_order_relaxed))
        return; /* another thread is writing here: one of two simultaneous lookups is forgotten */
    atomic_thread_fence(memory_order_release);
    place->address = *address;
    place->name_hash = hash;
    place->length = (uint32_t)strlen(normal);
    memcpy(place->name, normal, place->length + 1);
    atomic_store_explicit(&place->stamp, 1 + atomic_fetch_add_explicit(&stamps, 1, memory_order_relaxed),
                          memory_order_relaxed);
    atomic_store_explicit(&place->sequence, sequence + 2, memory_order_release);
}

bool names_find(const struct address *address, char name[NAME_MAX_BYTES])
{
    if (!__atomic_load_n(&table, __ATOMIC_ACQUIRE))
        return false;
    struct entry *set = set_of(address);
    uint64_t best = 0;
    for (unsigned i = 0; i < WAYS; i++) {
        /* A look at the live entry first: most are for other addresses, and a copy costs. */
        if (!atomic_load_explicit(&set[i].stamp, memory_order_relaxed) ||
            !address_equal(&set[i].address, address))
            continue;
        struct entry copy;
        if (!copy_entry(&set[i], &copy) || !address_equal(&copy.address, address))
            continue;
        uint64_t rank = copy.name_hash == last_name_hash ? UINT64_MAX : copy.stamp;
        if (rank > best) {
            best = rank;
            memcpy(name, copy.name, NAME_MAX_BYTES);
            name[NAME_MAX_BYTES - 1] = '\0';
        }
    }
    return best != 0;
}

void names_looked_up(const char *name)
{
    char normal[NAME_MAX_BYTES];
    if (name_normalize(name, normal))
        last_name_hash = hash_bytes(normal, strlen(normal), 0);
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

static bool copy_entry(const struct entry *entry, struct entry *copy)
{
    for (int tries = 0; tries < 3; tries++) {
        uint32_t before = atomic_load_explicit(&entry->sequence, memory_order_acquire);
        if (before & 1)
            continue;
        memcpy(copy, entry, sizeof *copy);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&entry->sequence, memory_order_relaxed) == before)
            return true;
    }
    return false;
}
