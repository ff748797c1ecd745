#include "state/pending.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "state/own.h"

#define RUN_BEGINS ((1ull << 16) + 1)
#define GOING_ON   0xffffull
#define MARKS      0x3fffffff /* all of them below any timeout */
/* A claim lasts for a few system calls; who holds it may be out of the processor, for a tenth of a second where that is wanted
 * by many. */
#define YIELDS   2000u
#define NAPS     1500u
#define NAP_TIME (100 * NS_PER_US)

static struct pending_head none;
HOT struct pending_head *_Atomic pending_head = &none;
HOT int32_t pending_busy = PENDING_BUSY; /* until the first wait has looked */
static _Atomic uint32_t calmers;

static void run_chunk(struct pending *slots, _Atomic uint64_t *nearness, uint64_t now_ns,
                      void (*act)(struct pending *pending, void *context), void *context);
static uint64_t again_ns(const struct pending *pending, uint64_t now_ns);
static bool has_work(void);
static bool change_hint(int32_t *known, int32_t hint);
static bool open_table(void);
static void *map_emptied_on_fork(size_t size);
static struct pending *take_slot(void);
static void raise(_Atomic uint64_t *nearness, uint64_t value);
static void announce(struct pending *pending, uint64_t due_ns);
static bool try_claim(struct pending *pending);
static void let_go(struct pending *pending);
static __attribute__((noinline)) struct pending *claim_later(struct pending *pending,
                                                             const struct descriptor *entry);
static struct pending *if_it_belongs(struct pending *pending, const struct descriptor *entry);
static void let_others_go(unsigned turn);
static bool belongs(const struct pending *pending, const struct descriptor *entry);

struct pending *pending_take(struct descriptor *entry)
{
    struct pending *pending = open_table() ? take_slot() : NULL;
    if (!pending)
        return NULL;
    /* Somebody may be about to find out that it is not what it was when he claimed it. */
    while (!try_claim(pending))
        sched_yield();
    atomic_store_explicit(&pending->due_ns, NEVER, memory_order_relaxed);
    atomic_store_explicit(&pending->nudged, 0, memory_order_relaxed);
    atomic_store_explicit(&pending->was_unsent, 0, memory_order_relaxed);
    atomic_store_explicit(&pending->http2, 0, memory_order_relaxed);
    atomic_store_explicit(&pending->opening, (struct opening){0}, memory_order_relaxed);
    pending->saved_user_timeout_ms = -1;
    pending->is_withheld = pending->turn.is_waiting = false;
    atomic_store_explicit(&pending->phase, PENDING_FREE, memory_order_relaxed);
    atomic_store_explicit(&pending->answer_due_ns, NEVER, memory_order_relaxed);
    atomic_store_explicit(&pending->room_due_ns, NEVER, memory_order_relaxed);
    atomic_store_explicit(&pending->left_due_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&pending->entry, entry, memory_order_relaxed);
    return pending;
}

bool pending_publish(struct pending *pending, enum pending_phase phase)
{
    own_add(&pending_head->used, 1);
    pending_enter(pending, phase);
    uint32_t none_yet = 0;
    struct descriptor *entry = atomic_load_explicit(&pending->entry, memory_order_relaxed);
    if (own_replace_32(&entry->pending, &none_yet, pending->number + 1))
        return true;
    pending_end(pending);
    return false;
}

struct pending *pending_claim(struct descriptor *entry)
{
    uint32_t number = atomic_load_explicit(&entry->pending, memory_order_acquire);
    struct pending *pending = number ? pending_number(number - 1) : NULL;
    if (!pending || !belongs(pending, entry))
        return NULL;
    return try_claim(pending) ? if_it_belongs(pending, entry) : claim_later(pending, entry);
}

/* Somebody else has it. */
static struct pending *claim_later(struct pending *pending, const struct descriptor *entry)
{
    for (unsigned turn = 0; turn < YIELDS + NAPS; turn++) {
        let_others_go(turn);
        if (!belongs(pending, entry))
            return NULL;
        if (try_claim(pending))
            return if_it_belongs(pending, entry);
    }
    return NULL;
}

/* Still, now that it is claimed. */
static struct pending *if_it_belongs(struct pending *pending, const struct descriptor *entry)
{
    if (belongs(pending, entry))
        return pending;
    let_go(pending);
    return NULL;
}

/* No cancellation point. */
static void let_others_go(unsigned turn)
{
    struct timespec nap = timespec_of_ns(NAP_TIME);
    int error = errno;
    if (turn < YIELDS)
        sched_yield();
    else
        syscall(SYS_nanosleep, &nap, NULL);
    errno = error;
}

void pending_release(struct pending *pending, uint64_t due_ns)
{
    uint64_t in_ns = atomic_load_explicit(&pending->withheld_in_ns, memory_order_relaxed);
    uint64_t out_ns = atomic_load_explicit(&pending->withheld_out_ns, memory_order_relaxed);
    if (in_ns && in_ns < due_ns)
        due_ns = in_ns;
    if (out_ns && out_ns < due_ns)
        due_ns = out_ns;
    atomic_store_explicit(&pending->due_ns, due_ns, memory_order_release);
    let_go(pending); /* which tells of it */
}

void pending_put_back(struct pending *pending)
{
    let_go(pending);
}

void pending_withhold(struct pending *pending, uint64_t in_ns, uint64_t out_ns)
{
    bool was = atomic_load_explicit(&pending->withheld_in_ns, memory_order_relaxed) |
               atomic_load_explicit(&pending->withheld_out_ns, memory_order_relaxed);
    bool is = in_ns | out_ns;
    atomic_store_explicit(&pending->withheld_in_ns, in_ns, memory_order_relaxed);
    atomic_store_explicit(&pending->withheld_out_ns, out_ns, memory_order_relaxed);
    if (is && !was) {
        atomic_fetch_add(&pending_head->withheld, 1);
        pending_make_busy();
    }
    if (was && !is)
        atomic_fetch_sub_explicit(&pending_head->withheld, 1, memory_order_relaxed);
}

void pending_turn(struct pending *pending, uint64_t key, uint64_t begun_ns)
{
    atomic_store_explicit(&pending->turn_begun_ns, begun_ns, memory_order_relaxed);
    uint64_t before = atomic_exchange_explicit(&pending->turn_key, key, memory_order_release);
    if (key && !before)
        atomic_fetch_add_explicit(&pending_head->turns, 1, memory_order_relaxed);
    if (before && !key)
        atomic_fetch_sub_explicit(&pending_head->turns, 1, memory_order_relaxed);
}

struct pending *pending_first_turn(uint64_t key)
{
    if (!atomic_load_explicit(&pending_head->turns, memory_order_relaxed))
        return NULL;
    struct pending *first = NULL, *pending;
    uint64_t first_ns = NEVER;
    for (uint32_t cursor = 0; (pending = pending_each(&cursor));) {
        if (atomic_load_explicit(&pending->turn_key, memory_order_acquire) != key)
            continue;
        uint64_t begun_ns = atomic_load_explicit(&pending->turn_begun_ns, memory_order_relaxed);
        if (begun_ns < first_ns) {
            first = pending;
            first_ns = begun_ns;
        }
    }
    return first;
}

void pending_overdue(struct pending *pending)
{
    if (!atomic_exchange(&pending->is_overdue, 1))
        atomic_fetch_add(&pending_head->overdue, 1);
}

/* All that is counted beside its phase, and what registrations are owed. */
static void settle(struct pending *pending)
{
    if (atomic_load(&pending->is_overdue) && atomic_exchange(&pending->is_overdue, 0))
        atomic_fetch_sub(&pending_head->overdue, 1);
    pending_withhold(pending, 0, 0);
    if (atomic_load_explicit(&pending->turn_key, memory_order_relaxed))
        pending_turn(pending, 0, 0);
    for (unsigned i = 0; i < WITHHELD_EPOLLS; i++)
        pending->withheld[i].how = AS_IT_IS;
    pending->late_events = 0;
    if (atomic_load(&pending->nudged))
        atomic_fetch_sub(&pending_head->nudges, pending_nudges_in(atomic_exchange(&pending->nudged, 0)));
}

void pending_keep(struct pending *pending)
{
    settle(pending);
    pending_enter(pending, PENDING_ANSWER);
    pending_release(pending, NEVER);
}

void pending_end(struct pending *pending)
{
    settle(pending);
    uint32_t own = pending->number + 1; /* unless the entry is another connection's by now */
    own_replace_32(&pending->entry->pending, &own, 0);
    pending_enter(pending, PENDING_FREE);
    atomic_store_explicit(&pending->entry, NULL, memory_order_relaxed);
    atomic_store_explicit(&pending->due_ns, NEVER, memory_order_relaxed);
    own_add(&pending_head->used, -1u);
    atomic_store_explicit(&pending->claim, 0, memory_order_release);
    struct pending_head *head = pending_head;
    uint64_t first = atomic_load_explicit(&head->free_head, memory_order_relaxed), mine;
    do {
        atomic_store_explicit(&pending->next, (uint32_t)first, memory_order_relaxed);
        mine = (first & ~0xffffffffull) + (1ull << 32) + pending->number + 1;
    } while (!own_replace_64(&head->free_head, &first, mine));
}

void pending_enter(struct pending *pending, enum pending_phase phase)
{
    bool was = pending_is_connect(pending->phase), is = pending_is_connect(phase);
    if (is && !was) {
        own_add(&pending_head->connects, 1);
        pending_make_busy();
    }
    if (was && !is)
        own_add(&pending_head->connects, -1u);
    if (was != is)
        own_add(&pending_head->changes, 1);
    atomic_store_explicit(&pending->phase, phase, memory_order_release);
}

void pending_due(struct pending *pending, const struct descriptor *entry, uint64_t due_ns)
{
    uint64_t before_ns = atomic_load(&pending->due_ns);
    while (belongs(pending, entry)) {
        if (!own_replace_64(&pending->due_ns, &before_ns, due_ns))
            continue;
        if (due_ns != NEVER)
            announce(pending, due_ns);
        return;
    }
}

bool pending_is_due_by(const struct pending *pending, uint64_t due_ns)
{
    return !atomic_load_explicit(&pending->claim, memory_order_acquire) &&
           atomic_load_explicit(&pending->due_ns, memory_order_relaxed) <= due_ns;
}

uint64_t pending_nearest(uint64_t now_ns)
{
    struct pending_head *head = pending_head;
    uint64_t runs = atomic_load(&head->runs), nearest_ns = ~atomic_load(&head->nearness);
    /* It may have been read while a run had emptied it. */
    bool is_known = !(runs & GOING_ON) && atomic_load(&head->runs) == runs;
    uint64_t soon_ns = is_known ? NEVER : now_ns + NS_PER_MS;
    return nearest_ns < soon_ns ? nearest_ns : soon_ns;
}

/* Lower bounds are emptied before what they bound is looked at: whoever arms meanwhile raises them again. */
void pending_run(uint64_t now_ns, void (*act)(struct pending *pending, void *context), void *context)
{
    struct pending_head *head = pending_head;
    if (~atomic_load(&head->nearness) > now_ns)
        return;
    atomic_fetch_add(&head->runs, RUN_BEGINS);
    atomic_store(&head->nearness, 0);
    uint32_t made = atomic_load_explicit(&head->made, memory_order_acquire);
    for (uint32_t chunk = 0; chunk * PENDING_CHUNK < made; chunk++) {
        struct pending *slots = atomic_load_explicit(&head->chunks[chunk], memory_order_acquire);
        if (slots && ~atomic_load(&head->chunk_nearness[chunk]) <= now_ns) {
            atomic_store(&head->chunk_nearness[chunk], 0);
            run_chunk(slots, &head->chunk_nearness[chunk], now_ns, act, context);
        }
        raise(&head->nearness, atomic_load(&head->chunk_nearness[chunk]));
    }
    atomic_fetch_sub(&head->runs, 1);
}

struct pending *pending_each(uint32_t *cursor)
{
    struct pending_head *head = pending_head;
    uint32_t made = atomic_load_explicit(&head->made, memory_order_acquire);
    for (; *cursor < made; *cursor = (*cursor / PENDING_CHUNK + 1) * PENDING_CHUNK) {
        struct pending *slots =
            atomic_load_explicit(&head->chunks[*cursor / PENDING_CHUNK], memory_order_acquire);
        if (slots)
            return &slots[(*cursor)++ % PENDING_CHUNK];
    }
    return NULL;
}

static void run_chunk(struct pending *slots, _Atomic uint64_t *nearness, uint64_t now_ns,
                      void (*act)(struct pending *pending, void *context), void *context)
{
    for (uint32_t i = 0; i < PENDING_CHUNK; i++) {
        struct pending *pending = &slots[i];
        if (atomic_load(&pending->due_ns) <= now_ns && try_claim(pending)) {
            if (pending->phase == PENDING_FREE) /* who moved it to a time was overtaken by its end */
                atomic_store_explicit(&pending->due_ns, NEVER, memory_order_relaxed);
            if (pending->phase != PENDING_FREE && atomic_load(&pending->due_ns) <= now_ns)
                act(pending, context);
            else
                let_go(pending);
        }
        raise(nearness, ~again_ns(pending, now_ns));
    }
}

/* When it is worth a look again. What another thread has claimed it is about to see to, unless it is out of the processor:
 * whoever asked for it at once would do so over and over. */
static uint64_t again_ns(const struct pending *pending, uint64_t now_ns)
{
    bool is_claimed = atomic_load(&pending->claim);
    uint64_t due_ns = atomic_load(&pending->due_ns);
    return is_claimed && due_ns <= now_ns ? now_ns + NS_PER_MS : due_ns;
}

static bool open_table(void)
{
    if (pending_head != &none)
        return true;
    struct pending_head *head = map_emptied_on_fork(sizeof *head);
    if (!head)
        return false;
    struct pending_head *expected = &none;
    if (!atomic_compare_exchange_strong(&pending_head, &expected, head))
        munmap(head, sizeof *head);
    return true;
}

static void *map_emptied_on_fork(size_t size)
{
    int error = errno;
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED && madvise(memory, size, MADV_WIPEONFORK) != 0) {
        munmap(memory, size);
        memory = MAP_FAILED;
    }
    errno = error;
    return memory == MAP_FAILED ? NULL : memory;
}

static struct pending *take_slot(void)
{
    struct pending_head *head = pending_head;
    uint64_t first = atomic_load_explicit(&head->free_head, memory_order_acquire);
    while ((uint32_t)first) {
        struct pending *pending = pending_number((uint32_t)first - 1);
        if (!pending)
            return NULL; /* it has been made, or it would not be free */
        uint64_t next = (first & ~0xffffffffull) + (1ull << 32) + pending->next;
        if (own_replace_64(&head->free_head, &first, next))
            return pending;
    }
    uint32_t number = atomic_load_explicit(&head->made, memory_order_relaxed);
    do {
        if (number >= PENDING_CHUNK * PENDING_CHUNKS)
            return NULL;
        struct pending *_Atomic *chunk = &head->chunks[number / PENDING_CHUNK];
        if (!atomic_load_explicit(chunk, memory_order_acquire)) {
            size_t size = PENDING_CHUNK * sizeof(struct pending);
            struct pending *fresh = map_emptied_on_fork(size), *expected = NULL;
            if (!fresh)
                return NULL;
            for (uint32_t i = 0; i < PENDING_CHUNK; i++) {
                atomic_init(&fresh[i].due_ns, NEVER);
                fresh[i].number = number / PENDING_CHUNK * PENDING_CHUNK + i;
            }
            if (!atomic_compare_exchange_strong(chunk, &expected, fresh))
                munmap(fresh, size);
        }
    } while (!atomic_compare_exchange_weak_explicit(&head->made, &number, number + 1, memory_order_acq_rel,
                                                    memory_order_relaxed));
    return pending_number(number);
}

static bool has_work(void)
{
    struct pending_head *head = pending_head;
    uint64_t runs = atomic_load(&head->runs);
    return atomic_load(&head->nearness) || atomic_load(&head->connects) || atomic_load(&head->withheld) ||
           atomic_load(&head->nudges) || atomic_load(&head->left_count) || runs & GOING_ON ||
           atomic_load(&head->runs) != runs;
}

bool pending_can_calm(void)
{
    return pending_is_busy() && (!atomic_load(&pending_head->used) || !has_work());
}

/* A fork child comes here too: it has the hint, and nothing pending. */
void pending_calm(void)
{
    struct pending_head *head = pending_head;
    uint64_t nearness = atomic_load(&head->nearness);
    if (nearness && !atomic_load(&head->used)) {
        /* What it was about has ended. Who takes a slot meanwhile finds it as it was. */
        atomic_fetch_add(&head->runs, RUN_BEGINS);
        if (atomic_compare_exchange_strong(&head->nearness, &nearness, 0) && atomic_load(&head->used))
            raise(&head->nearness, nearness);
        atomic_fetch_sub(&head->runs, 1);
    }
    if (has_work())
        return;
    /* Not for a moment may it seem calm to a thread that has just armed something: each calmer leaves a mark of its own
     * before it looks again, and whoever arms takes it away. */
    int32_t busy = __atomic_load_n(&pending_busy, __ATOMIC_SEQ_CST);
    int32_t mark = PENDING_BUSY + 1 + (int32_t)(atomic_fetch_add(&calmers, 1) & MARKS);
    if (busy != PENDING_CALM && change_hint(&busy, mark))
        change_hint(&mark, has_work() ? PENDING_BUSY : PENDING_CALM);
}

static bool change_hint(int32_t *known, int32_t hint)
{
    return __atomic_compare_exchange_n(&pending_busy, known, hint, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

void pending_make_busy(void)
{
    if (__atomic_load_n(&pending_busy, __ATOMIC_SEQ_CST) != PENDING_BUSY)
        __atomic_store_n(&pending_busy, PENDING_BUSY, __ATOMIC_SEQ_CST);
}

static void raise(_Atomic uint64_t *nearness, uint64_t value)
{
    uint64_t known = atomic_load(nearness);
    while (known < value && !atomic_compare_exchange_weak(nearness, &known, value))
        ;
}

static void announce(struct pending *pending, uint64_t due_ns)
{
    raise(&pending_head->chunk_nearness[pending->number / PENDING_CHUNK], ~due_ns);
    raise(&pending_head->nearness, ~due_ns);
    pending_make_busy();
}

static bool try_claim(struct pending *pending)
{
    uint32_t unclaimed = 0;
    return own_replace_32(&pending->claim, &unclaimed, 1);
}

/* Whoever has come by meanwhile took it for seen to (again_ns): it is told again when it is due. */
static void let_go(struct pending *pending)
{
    own_store_32(&pending->claim, 0);
    uint64_t due_ns = atomic_load(&pending->due_ns);
    if (due_ns != NEVER)
        announce(pending, due_ns);
}

static bool belongs(const struct pending *pending, const struct descriptor *entry)
{
    return atomic_load_explicit(&pending->entry, memory_order_relaxed) == entry &&
           atomic_load_explicit(&entry->pending, memory_order_relaxed) == pending->number + 1;
}
