#include "state/degraded.h"

#include <sys/mman.h>

#include "state/pool.h"

#define RECORDS_MAX 16384u

static struct degraded *records; /* reserved, not used: pages come with the connections */

static bool open_records(void);
static bool is_idle(const struct degraded *record, uint32_t number);

struct degraded *degraded_note(struct descriptor *entry, void (*let_go)(struct degraded *record))
{
    static _Atomic uint32_t next;
    if (!open_records())
        return NULL;
    uint32_t first = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < RECORDS_MAX; i++) {
        uint32_t number = (first + i) % RECORDS_MAX;
        struct degraded *record = &records[number];
        struct descriptor *before = atomic_load_explicit(&record->entry, memory_order_acquire);
        if (!is_idle(record, number))
            continue;
        /* First, or the record would seem to be idle to another thread. */
        atomic_store_explicit(&entry->degraded, number + 1, memory_order_release);
        if (!atomic_compare_exchange_strong_explicit(&record->entry, &before, entry, memory_order_acq_rel,
                                                     memory_order_relaxed)) {
            atomic_store_explicit(&entry->degraded, 0, memory_order_release);
            continue;
        }
        if (before && record->stands_in)
            let_go(record);
        record->number = number;
        record->stands_in = false;
        record->end = -1;
        return record;
    }
    return NULL;
}

struct degraded *degraded_number(uint32_t number)
{
    struct degraded *all = __atomic_load_n(&records, __ATOMIC_ACQUIRE);
    return number && number <= RECORDS_MAX && all ? &all[number - 1] : NULL;
}

struct degraded *degraded_of(const struct descriptor *entry)
{
    struct degraded *record = degraded_number(atomic_load_explicit(&entry->degraded, memory_order_acquire));
    return record && atomic_load_explicit(&record->entry, memory_order_relaxed) == entry ? record : NULL;
}

/* Entries stay readable: the pool reads as zeros where it was given back. */
static bool is_idle(const struct degraded *record, uint32_t number)
{
    const struct descriptor *entry = atomic_load_explicit(&record->entry, memory_order_relaxed);
    return !entry || atomic_load_explicit(&entry->degraded, memory_order_relaxed) != number + 1 ||
           atomic_load_explicit(&entry->references, memory_order_relaxed) == 0;
}

static bool open_records(void)
{
    if (__atomic_load_n(&records, __ATOMIC_ACQUIRE))
        return true;
    struct degraded *memory = map_zeroed(RECORDS_MAX * sizeof *memory), *none = NULL;
    if (memory &&
        !__atomic_compare_exchange_n(&records, &none, memory, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        munmap(memory, RECORDS_MAX * sizeof *memory);
    return __atomic_load_n(&records, __ATOMIC_ACQUIRE);
}
