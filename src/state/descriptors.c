#include "state/descriptors.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/hash.h"
#include "base/text.h"

#define LIMIT_MAX     (1u << 20)
#define LIMIT_MIN     (1u << 16)
#define CHUNK_ENTRIES 64u
#define CHUNKS_MAX    (LIMIT_MAX / CHUNK_ENTRIES)
#define GUARDS_MAX    4096u

struct descriptor **descriptor_table;
unsigned descriptor_limit;
static uint8_t *kinds;
static unsigned
    guarded_end; /* no number from here on was ever guarded: spares a walk through the whole table */

/* The pool: chunks of entries, never given back to the system, and a stack of the free ones. `free_head` is
 * `laps:32 | number + 1`: the laps keep a slow thread from putting back a head that has been used since. */
static struct descriptor **chunks;
static _Atomic uint32_t entries_made;
static _Atomic uint64_t free_head;

static const struct guard **guards;

static void *map_zeroed(size_t size);
static void put(int fd, struct descriptor *entry);
static struct descriptor *entry_number(uint32_t number);
static struct descriptor *take_entry(void);
static void give_entry(struct descriptor *entry);

bool descriptors_open(void)
{
    if (descriptor_limit)
        return true;
    struct rlimit most = {0, 0};
    getrlimit(RLIMIT_NOFILE, &most);
    unsigned limit = most.rlim_max > LIMIT_MAX ? LIMIT_MAX : (unsigned)most.rlim_max;
    if (limit < LIMIT_MIN)
        limit = LIMIT_MIN; /* root may raise it */
    /* Reserved, not used: pages come with the descriptors. */
    void *table = map_zeroed(limit * sizeof *descriptor_table);
    void *kind_bytes = map_zeroed(limit);
    void *directory = map_zeroed(CHUNKS_MAX * sizeof *chunks);
    void *shared = map_zeroed(GUARDS_MAX * sizeof *guards);
    if (!table || !kind_bytes || !directory || !shared)
        return false; /* once per process; what was had is not worth giving back */
    kinds = kind_bytes;
    chunks = directory;
    guards = shared;
    descriptor_table = table;
    __atomic_store_n(&descriptor_limit, limit, __ATOMIC_RELEASE);
    return true;
}

enum socket_kind descriptor_kind(int fd)
{
    return (unsigned)fd < descriptor_limit ? __atomic_load_n(&kinds[fd], __ATOMIC_RELAXED) : SOCKET_UNKNOWN;
}

void descriptor_note_kind(int fd, enum socket_kind kind)
{
    if ((unsigned)fd < descriptor_limit && __atomic_load_n(&kinds[fd], __ATOMIC_RELAXED) != kind)
        __atomic_store_n(&kinds[fd], (uint8_t)kind, __ATOMIC_RELAXED);
}

struct descriptor *descriptor_adopt(int fd, uint64_t cookie, const struct guard *guard,
                                    struct host_handle host, const char *target)
{
    if ((unsigned)fd >= descriptor_limit)
        return NULL;
    descriptor_drop(fd, NULL);
    struct descriptor *entry = take_entry();
    if (!entry)
        return NULL;
    atomic_store_explicit(&entry->state, 0, memory_order_relaxed);
    entry->cookie = cookie;
    entry->guard = guard;
    entry->host = host;
    entry->own_recv_ns = entry->own_send_ns = 0;
    entry->due_recv_error = entry->due_send_error = 0;
    struct text text = text_begin(entry->target.text, sizeof entry->target.text);
    text_add(&text, "%s", target);
    atomic_store_explicit(&entry->references, 1, memory_order_release);
    put(fd, entry);
    return entry;
}

void descriptor_share(int fd, int copy)
{
    if (fd == copy)
        return;
    struct descriptor *entry = descriptor_of(fd);
    if (descriptor_kind(fd) ==
        SOCKET_TCP_FRESH) /* what the program changes through one number the other does not see */
        descriptor_note_kind(fd, SOCKET_TCP);
    descriptor_note_kind(copy, descriptor_kind(fd));
    descriptor_drop(copy, NULL);
    if (!entry || (unsigned)copy >= descriptor_limit)
        return;
    /* Another thread may be closing the last number: what is back in the pool must not be taken out of it again. */
    uint32_t references = atomic_load_explicit(&entry->references, memory_order_relaxed);
    do {
        if (references == 0)
            return;
    } while (!atomic_compare_exchange_weak_explicit(&entry->references, &references, references + 1,
                                                    memory_order_acq_rel, memory_order_relaxed));
    put(copy, entry);
}

void descriptor_drop(int fd, struct descriptor *last)
{
    if (last)
        last->guard = NULL;
    if ((unsigned)fd >= descriptor_limit)
        return;
    struct descriptor *entry = __atomic_exchange_n(&descriptor_table[fd], NULL, __ATOMIC_ACQ_REL);
    if (!entry || atomic_fetch_sub_explicit(&entry->references, 1, memory_order_acq_rel) != 1)
        return;
    if (last)
        memcpy(last, entry, sizeof *last);
    give_entry(entry);
}

int descriptor_next(unsigned fd, unsigned last)
{
    unsigned end = __atomic_load_n(&guarded_end, __ATOMIC_ACQUIRE);
    for (; fd < end && fd <= last; fd++)
        if (__atomic_load_n(&descriptor_table[fd], __ATOMIC_RELAXED))
            return (int)fd;
    return -1;
}

const struct guard *guard_of(const struct policy *policy)
{
    struct guard wanted;
    memset(&wanted, 0, sizeof wanted); /* the hash covers the padding */
    wanted.recv_ns = policy->timeout.recv_ns;
    wanted.send_ns = policy->timeout.send_ns;
    wanted.response_ns = policy->timeout.response_ns;
    wanted.has_breaker = policy->breaker.is_on;
    if (wanted.has_breaker) {
        wanted.breaker = policy->breaker.params;
        wanted.breaker_error = policy->breaker.error;
    }
    wanted.hash = hash_bytes(&wanted, sizeof wanted, 0) | 1;
    for (unsigned i = 0; i < GUARDS_MAX; i++) {
        const struct guard **place = &guards[(wanted.hash + i) % GUARDS_MAX];
        const struct guard *found = __atomic_load_n(place, __ATOMIC_ACQUIRE);
        if (!found) {
            struct guard *copy = map_zeroed(sizeof *copy);
            if (!copy)
                return NULL;
            *copy = wanted;
            if (__atomic_compare_exchange_n(place, &found, copy, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
                return copy;
            munmap(copy, sizeof *copy);
        }
        if (found->hash == wanted.hash)
            return found;
    }
    return NULL;
}

static void *map_zeroed(size_t size)
{
    int error = errno;
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = error;
    return memory == MAP_FAILED ? NULL : memory;
}

static void put(int fd, struct descriptor *entry)
{
    unsigned end = __atomic_load_n(&guarded_end, __ATOMIC_RELAXED);
    while (end <= (unsigned)fd && !__atomic_compare_exchange_n(&guarded_end, &end, (unsigned)fd + 1, true,
                                                               __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
    __atomic_store_n(&descriptor_table[fd], entry, __ATOMIC_RELEASE);
}

static struct descriptor *entry_number(uint32_t number)
{
    return &__atomic_load_n(&chunks[number / CHUNK_ENTRIES], __ATOMIC_ACQUIRE)[number % CHUNK_ENTRIES];
}

static struct descriptor *take_entry(void)
{
    uint64_t head = atomic_load_explicit(&free_head, memory_order_acquire);
    while ((uint32_t)head) {
        struct descriptor *entry = entry_number((uint32_t)head - 1);
        /* Another thread may have taken it, and be giving it back: then the laps differ. */
        uint32_t second = atomic_load_explicit(&entry->next, memory_order_relaxed);
        uint64_t next = (head & ~0xffffffffull) + (1ull << 32) + second;
        if (atomic_compare_exchange_weak_explicit(&free_head, &head, next, memory_order_acq_rel,
                                                  memory_order_acquire))
            return entry;
    }
    uint32_t number = atomic_load_explicit(&entries_made, memory_order_relaxed);
    do {
        if (number >= LIMIT_MAX)
            return NULL;
        struct descriptor **chunk = &chunks[number / CHUNK_ENTRIES];
        if (!__atomic_load_n(chunk, __ATOMIC_ACQUIRE)) {
            struct descriptor *none = NULL, *fresh = map_zeroed(CHUNK_ENTRIES * sizeof *fresh);
            if (!fresh)
                return NULL;
            if (!__atomic_compare_exchange_n(chunk, &none, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
                munmap(fresh, CHUNK_ENTRIES * sizeof *fresh);
        }
    } while (!atomic_compare_exchange_weak_explicit(&entries_made, &number, number + 1, memory_order_acq_rel,
                                                    memory_order_relaxed));
    struct descriptor *entry = entry_number(number);
    entry->number = number;
    return entry;
}

static void give_entry(struct descriptor *entry)
{
    uint64_t head = atomic_load_explicit(&free_head, memory_order_relaxed), mine;
    do {
        atomic_store_explicit(&entry->next, (uint32_t)head, memory_order_relaxed);
        mine = (head & ~0xffffffffull) + (1ull << 32) + entry->number + 1;
    } while (!atomic_compare_exchange_weak_explicit(&free_head, &head, mine, memory_order_acq_rel,
                                                    memory_order_relaxed));
}
