#include "state/registered_data.h"

#include <stddef.h>

#include "state/alone.h"

static int32_t *places;     /* by epoll and data: a number + 1, or 0 */
static unsigned char *cuts; /* 1: what has its home there may be nowhere */
static bool is_all_cut;

static bool take(uint32_t home, int fd);
static bool is_taken(uint32_t place, int32_t there);
static bool is_taken_by_one_of_several(uint32_t place, int fd);
static inline bool is_from(uint32_t place, int epoll, uint64_t data);
static void cut_around(uint32_t place);
static inline bool is_cut_at(uint32_t home);
static inline uint32_t home_of(int epoll, uint64_t data);
static bool is_so(int epoll, int fd, uint64_t data, struct registration *found);

void registered_data_begin(void *memory)
{
    __atomic_store_n(&cuts, (unsigned char *)memory + REGISTERED_DATA_PLACES * sizeof *places,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&places, (int32_t *)memory, __ATOMIC_RELEASE);
}

/* Places are never cleared: what is there may have gone, or be registered otherwise by now. Who takes one looks once more whether
 * it has gone, as it may have come again meanwhile and have found that it is there: one of both sees the other. The first that is
 * free is taken, so nothing is beyond one that was never taken. */
void registered_data_remember(int epoll, int fd, uint64_t data)
{
    uint32_t home = home_of(epoll, data);
    if (!__atomic_load_n(&places, __ATOMIC_ACQUIRE))
        return;
    if (!process_is_alone())
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    while (!take(home, fd))
        ;
}

/* False: another thread was quicker. */
static bool take(uint32_t home, int fd)
{
    int32_t *free = NULL, before = 0;
    for (uint32_t i = 0; i < REGISTERED_DATA_EACH; i++) {
        int32_t *place = &places[home + i], there = __atomic_load_n(place, __ATOMIC_ACQUIRE);
        if (there == fd + 1)
            return true;
        if (!free && !is_taken(home + i, there)) {
            free = place;
            before = there;
        }
        if (!there)
            break;
    }
    if (!free) {
        __atomic_store_n(&cuts[home], 1, __ATOMIC_RELEASE);
        return true;
    }
    int32_t expected = before;
    if (!__atomic_compare_exchange_n(free, &expected, fd + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        return false;
    if (is_taken((uint32_t)(free - places), before))
        cut_around((uint32_t)(free - places));
    return true;
}

static bool is_taken(uint32_t place, int32_t there)
{
    if (!there)
        return false;
    const struct registration *known = &registration_table[there - 1];
    int32_t epoll = __atomic_load_n(&known->epoll, __ATOMIC_ACQUIRE);
    if (epoll == REGISTERED_WITH_SEVERAL)
        return is_taken_by_one_of_several(place, there - 1);
    return epoll > 0 && is_from(place, epoll - 1, __atomic_load_n(&known->data, __ATOMIC_RELAXED));
}

static bool is_taken_by_one_of_several(uint32_t place, int fd)
{
    struct registration one;
    unsigned turn = 0;
    while (registration_known(fd, &turn, &one))
        if (is_from(place, one.epoll - 1, one.data))
            return true;
    return false;
}

/* Is that where what is with that epoll under those data may be? */
static inline bool is_from(uint32_t place, int epoll, uint64_t data)
{
    return place - home_of(epoll, data) < REGISTERED_DATA_EACH;
}

static void cut_around(uint32_t place)
{
    for (uint32_t i = 0; i < REGISTERED_DATA_EACH && i <= place; i++)
        __atomic_store_n(&cuts[place - i], 1, __ATOMIC_RELEASE);
}

int registered_data_next(int epoll, uint64_t data, unsigned *turn, struct registration *found)
{
    int number = (int)(uint32_t)data; /* data.fd */
    if (!__atomic_load_n(&places, __ATOMIC_ACQUIRE))
        return -1;
    if (*turn == 0) {
        *turn = 1;
        if (is_so(epoll, number, data, found))
            return number;
    }
    uint32_t home = home_of(epoll, data);
    while (*turn <= REGISTERED_DATA_EACH) {
        int32_t there = __atomic_load_n(&places[home + (*turn)++ - 1], __ATOMIC_ACQUIRE);
        if (!there)
            break;
        if (there != number + 1 && is_so(epoll, there - 1, data, found))
            return there - 1;
    }
    *turn = REGISTERED_DATA_EACH + 1;
    return -1;
}

/* For the most common of all events: registered_data_next until there are no more, in one go. */
int registered_data_only(int epoll, uint64_t data, uint32_t *events)
{
    const int32_t *all = __atomic_load_n(&places, __ATOMIC_ACQUIRE);
    uint32_t home = home_of(epoll, data);
    int only = -1, fd = (int)(uint32_t)data; /* data.fd */
    if (!all || is_cut_at(home))
        return -1;
    for (uint32_t i = 0;; i++) {
        if ((unsigned)fd < registration_limit) {
            const struct registration *known = &registration_table[fd];
            int32_t there = __atomic_load_n(&known->epoll, __ATOMIC_ACQUIRE);
            bool is_so = there == epoll + 1 && __atomic_load_n(&known->data, __ATOMIC_RELAXED) == data;
            if (there == REGISTERED_WITH_SEVERAL || (is_so && only >= 0 && only != fd))
                return -1;
            if (is_so) {
                only = fd;
                *events = __atomic_load_n(&known->events, __ATOMIC_RELAXED);
            }
        }
        int32_t next = i < REGISTERED_DATA_EACH ? __atomic_load_n(&all[home + i], __ATOMIC_ACQUIRE) : 0;
        if (!next)
            return only;
        fd = next - 1;
    }
}

void registered_data_cut(void)
{
    __atomic_store_n(&is_all_cut, true, __ATOMIC_RELEASE);
}

bool registered_data_is_cut(int epoll, uint64_t data)
{
    return __atomic_load_n(&is_all_cut, __ATOMIC_ACQUIRE) ||
           (__atomic_load_n(&places, __ATOMIC_ACQUIRE) && is_cut_at(home_of(epoll, data)));
}

static inline bool is_cut_at(uint32_t home)
{
    return __atomic_load_n(&is_all_cut, __ATOMIC_ACQUIRE) || __atomic_load_n(&cuts[home], __ATOMIC_ACQUIRE);
}

int registered_data_next_of_all(int epoll, uint64_t data, unsigned *turn, struct registration *found)
{
    unsigned end = __atomic_load_n(&registration_end, __ATOMIC_ACQUIRE);
    for (unsigned fd = *turn; fd < end; fd++) {
        if (!is_so(epoll, (int)fd, data, found))
            continue;
        *turn = fd + 1;
        return (int)fd;
    }
    *turn = end;
    return -1;
}

static inline uint32_t home_of(int epoll, uint64_t data)
{
    uint64_t mixed = (data ^ (uint64_t)(uint32_t)epoll << 40) * 0x9e3779b97f4a7c15;
    return (uint32_t)(mixed >> (64 - REGISTERED_DATA_BITS));
}

static bool is_so(int epoll, int fd, uint64_t data, struct registration *found)
{
    return registration_find(epoll, fd, found) && found->data == data;
}
