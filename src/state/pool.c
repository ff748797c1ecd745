#include "state/pool.h"

#include <errno.h>
#include <sys/mman.h>

#include "state/own.h"

#define PAGE_BYTES       4096u
#define ENTRIES_PER_PAGE (PAGE_BYTES / sizeof(struct descriptor))
#define PAGES_PER_CHUNK  16u /* got from the system at once */
#define CHUNKS_MAX       (POOL_ENTRIES_MAX / (ENTRIES_PER_PAGE * PAGES_PER_CHUNK) + 1)
#define PAGES_MAX        (CHUNKS_MAX * PAGES_PER_CHUNK)

/* One word for each page: a bit for each entry that is taken, and whether anything was written since the page was empty
 * memory. While a page is given back all bits are set, so that nobody takes from it. */
#define FULL       ((1ull << ENTRIES_PER_PAGE) - 1)
#define WRITTEN    (1ull << 63)
#define GIVEN_BACK (~0ull)
_Static_assert(ENTRIES_PER_PAGE < 63, "an entry has a bit");
static _Atomic uint64_t *pages;
static char **chunks;
static _Atomic uint32_t pages_made;
static _Atomic uint32_t lowest; /* a hint: pages below are full */

/* Pages without a taken entry that were written to. A few of them are kept, and only more than those are given back:
 * a program whose connections come and go must not pay for it with system calls. */
#define UNUSED_MAX  8
#define UNUSED_KEPT 4
static _Atomic int32_t unused;

static struct descriptor *take_of_page(uint32_t page);
static bool make_page(uint32_t page);
static char *page_address(uint32_t page);
static void give_pages_back(void);

bool pool_open(void)
{
    pages = map_zeroed(PAGES_MAX * sizeof *pages);
    chunks = map_zeroed(CHUNKS_MAX * sizeof *chunks);
    return pages && chunks;
}

struct descriptor *pool_take(void)
{
    for (;;) {
        uint32_t from = atomic_load_explicit(&lowest, memory_order_acquire); /* less than what is read next */
        uint32_t made = atomic_load_explicit(&pages_made, memory_order_acquire);
        for (uint32_t i = 0; i < made; i++) { /* the hint may be too high: go round */
            uint32_t page = from + i < made ? from + i : from + i - made;
            struct descriptor *entry = take_of_page(page);
            if (!entry)
                continue;
            if (page != from)
                atomic_store_explicit(&lowest, page, memory_order_release);
            return entry;
        }
        if (made >= PAGES_MAX || !make_page(made))
            return NULL;
        atomic_compare_exchange_strong_explicit(&pages_made, &made, made + 1, memory_order_acq_rel,
                                                memory_order_relaxed);
    }
}

void pool_give(struct descriptor *entry)
{
    uint32_t page = entry->number / 64;
    uint64_t bit = 1ull << entry->number % 64;
    uint64_t before = atomic_load_explicit(&pages[page], memory_order_relaxed);
    while (!own_replace_64(&pages[page], &before, before & ~bit))
        ;
    uint64_t left = before & ~bit;
    if (page < atomic_load_explicit(&lowest, memory_order_relaxed))
        atomic_store_explicit(&lowest, page, memory_order_release);
    if (left == WRITTEN && atomic_fetch_add_explicit(&unused, 1, memory_order_relaxed) >= UNUSED_MAX)
        give_pages_back();
}

void *map_zeroed(size_t size)
{
    int error = errno;
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = error;
    return memory == MAP_FAILED ? NULL : memory;
}

static struct descriptor *take_of_page(uint32_t page)
{
    uint64_t word = atomic_load_explicit(&pages[page], memory_order_acquire);
    unsigned place;
    do {
        if ((word & FULL) == FULL)
            return NULL;
        place = (unsigned)__builtin_ctzll(~word);
    } while (!own_replace_64(&pages[page], &word, word | 1ull << place | WRITTEN));
    if (word == WRITTEN)
        atomic_fetch_sub_explicit(&unused, 1, memory_order_relaxed);
    struct descriptor *entry = (struct descriptor *)page_address(page) + place;
    entry->number = page * 64 + place;
    return entry;
}

static bool make_page(uint32_t page)
{
    char **chunk = &chunks[page / PAGES_PER_CHUNK];
    if (__atomic_load_n(chunk, __ATOMIC_ACQUIRE))
        return true;
    char *none = NULL, *fresh = map_zeroed(PAGES_PER_CHUNK * PAGE_BYTES);
    if (!fresh)
        return false;
    if (!__atomic_compare_exchange_n(chunk, &none, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        munmap(fresh, PAGES_PER_CHUNK * PAGE_BYTES);
    return true;
}

static char *page_address(uint32_t page)
{
    char *chunk = __atomic_load_n(&chunks[page / PAGES_PER_CHUNK], __ATOMIC_ACQUIRE);
    return chunk + page % PAGES_PER_CHUNK * PAGE_BYTES;
}

/* From the end: what is taken next comes from the beginning. A thread that never comes back from here (a handler that
 * jumps, a fork) leaves one page that nobody uses any more. */
static void give_pages_back(void)
{
    int error = errno;
    for (uint32_t page = atomic_load_explicit(&pages_made, memory_order_acquire);
         page-- > 0 && atomic_load_explicit(&unused, memory_order_relaxed) > UNUSED_KEPT;) {
        uint64_t word = WRITTEN;
        if (!atomic_compare_exchange_strong_explicit(&pages[page], &word, GIVEN_BACK, memory_order_acq_rel,
                                                     memory_order_relaxed))
            continue;
        atomic_fetch_sub_explicit(&unused, 1, memory_order_relaxed);
        madvise(page_address(page), PAGE_BYTES, MADV_DONTNEED);
        atomic_store_explicit(&pages[page], 0, memory_order_release);
    }
    errno = error;
}
