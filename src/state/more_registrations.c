#include "state/more_registrations.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#define PLACES_BITS 16
#define OWN_PLACES  4u  /* of a descriptor, before it takes those of others */
#define PLACES_EACH 16u /* where its registrations may be, from its home on */
#define PLACES      ((1u << PLACES_BITS) + PLACES_EACH)

/* Which registration: the number + 1 of the descriptor and that of the epoll; 0: none. BEING_WRITTEN: nobody's yet; whoever
 * writes it may never come back, which costs a place. */
#define BEING_WRITTEN UINT64_MAX

struct place {
    uint64_t key, data;
    uint32_t events;
};

static struct place *places;

static struct place *home_of(int fd);
static uint64_t key_of(int epoll, int fd);
static bool belongs_to(uint64_t key, int fd);
static void write_to(struct place *place, const struct registration *registration);
static bool read_from(const struct place *place, uint64_t key, struct registration *found);
static struct place *open_places(void);

bool more_registrations_keep(int fd, const struct registration *registration)
{
    struct place *home = open_places() ? home_of(fd) : NULL;
    uint64_t key = key_of(registration->epoll - 1, fd), none;
    for (unsigned i = 0; home && i < PLACES_EACH; i++) {
        if (__atomic_load_n(&home[i].key, __ATOMIC_ACQUIRE) != key)
            continue;
        write_to(&home[i], registration);
        return true;
    }
    for (unsigned i = 0; home && i < PLACES_EACH; i++) {
        none = 0;
        if (!__atomic_compare_exchange_n(&home[i].key, &none, BEING_WRITTEN, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_RELAXED))
            continue;
        write_to(&home[i], registration);
        __atomic_store_n(&home[i].key, key, __ATOMIC_RELEASE);
        return true;
    }
    return false;
}

/* Two threads may have kept the same at once: all of it goes. */
void more_registrations_end(int epoll, int fd)
{
    struct place *home = home_of(fd);
    for (unsigned i = 0; home && i < PLACES_EACH; i++)
        if (__atomic_load_n(&home[i].key, __ATOMIC_RELAXED) == key_of(epoll, fd))
            __atomic_store_n(&home[i].key, 0, __ATOMIC_RELEASE);
}

void more_registrations_forget(int fd)
{
    struct place *home = home_of(fd);
    for (unsigned i = 0; home && i < PLACES_EACH; i++)
        if (belongs_to(__atomic_load_n(&home[i].key, __ATOMIC_RELAXED), fd))
            __atomic_store_n(&home[i].key, 0, __ATOMIC_RELEASE);
}

bool more_registrations_find(int epoll, int fd, struct registration *found)
{
    struct place *home = home_of(fd);
    for (unsigned i = 0; home && i < PLACES_EACH; i++)
        if (read_from(&home[i], key_of(epoll, fd), found))
            return true;
    return false;
}

bool more_registrations_each(int fd, unsigned *turn, struct registration *found)
{
    struct place *home = home_of(fd);
    for (unsigned i = *turn; home && i < PLACES_EACH; i++) {
        uint64_t key = __atomic_load_n(&home[i].key, __ATOMIC_ACQUIRE);
        if (!belongs_to(key, fd) || !read_from(&home[i], key, found))
            continue;
        *turn = i + 1;
        return true;
    }
    return false;
}

/* Numbers that follow each other have places that do. */
static struct place *home_of(int fd)
{
    struct place *first = __atomic_load_n(&places, __ATOMIC_ACQUIRE);
    return first ? first + ((unsigned)fd * OWN_PLACES & ((1u << PLACES_BITS) - 1)) : NULL;
}

static uint64_t key_of(int epoll, int fd)
{
    return ((uint64_t)(uint32_t)fd + 1) << 32 | (uint32_t)(epoll + 1);
}

static bool belongs_to(uint64_t key, int fd)
{
    return key >> 32 == (uint64_t)(uint32_t)fd + 1;
}

static void write_to(struct place *place, const struct registration *registration)
{
    __atomic_store_n(&place->events, registration->events, __ATOMIC_RELAXED);
    __atomic_store_n(&place->data, registration->data, __ATOMIC_RELAXED);
}

/* Unless the place has become another one's meanwhile. */
static bool read_from(const struct place *place, uint64_t key, struct registration *found)
{
    if (__atomic_load_n(&place->key, __ATOMIC_ACQUIRE) != key)
        return false;
    found->epoll = (int32_t)(uint32_t)key;
    found->events = __atomic_load_n(&place->events, __ATOMIC_RELAXED);
    found->data = __atomic_load_n(&place->data, __ATOMIC_ACQUIRE);
    return __atomic_load_n(&place->key, __ATOMIC_RELAXED) == key;
}

static struct place *open_places(void)
{
    struct place *none = NULL, *known = __atomic_load_n(&places, __ATOMIC_ACQUIRE);
    if (known)
        return known;
    int error = errno;
    size_t bytes = PLACES * sizeof *places;
    struct place *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = error;
    if (memory == MAP_FAILED)
        return NULL;
    if (__atomic_compare_exchange_n(&places, &none, memory, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return memory;
    munmap(memory, bytes);
    return none;
}
