#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "policy/random.h"
#include "state/pending.h"
#include "suite.h"

#define NOW UINT64_C(1000000000000)

static struct descriptor entries[200]; /* more than two chunks of slots */
static unsigned acted;
static struct pending *last;

static struct pending *arm(struct descriptor *entry, uint64_t due_ns)
{
    struct pending *pending = pending_take(entry);
    ck_assert_ptr_nonnull(pending);
    pending_publish(pending, PENDING_ANSWER);
    pending_release(pending, due_ns);
    return pending;
}

static void end(struct descriptor *entry)
{
    struct pending *pending = pending_claim(entry);
    ck_assert_ptr_nonnull(pending);
    pending_end(pending);
}

/* Carried out: nothing more to come. */
static void note(struct pending *pending, void *context)
{
    ck_assert_ptr_eq(context, &acted);
    acted++;
    last = pending;
    pending_release(pending, NEVER);
}

static unsigned run(uint64_t now_ns)
{
    acted = 0;
    pending_run(now_ns, note, &acted);
    return acted;
}

TEST(nothing_is_due_at_first)
{
    struct descriptor entry = {0};
    uint32_t cursor = 0;
    ck_assert_uint_eq(pending_nearest(NOW), NEVER);
    ck_assert_uint_eq(run(NOW), 0);
    ck_assert_ptr_null(pending_claim(&entry));
    ck_assert_ptr_null(pending_of(&entry));
    ck_assert_ptr_null(pending_each(&cursor));
    ck_assert(pending_is_busy());
    pending_calm();
    ck_assert(!pending_is_busy());
}

TEST(what_is_due_is_carried_out_once_and_the_rest_waits)
{
    for (unsigned i = 0; i < 200; i++)
        arm(&entries[i], NOW + (i * 71 + 13) % 200);
    ck_assert_uint_eq(pending_nearest(NOW - 1), NOW);
    ck_assert_uint_eq(run(NOW - 1), 0);
    for (unsigned i = 0; i < 200; i++) {
        ck_assert_uint_eq(pending_nearest(NOW), NOW + i);
        ck_assert_uint_eq(run(NOW + i), 1);
        ck_assert_ptr_eq(last->entry, &entries[(i + 187) * 31 % 200]);
        ck_assert_uint_eq(run(NOW + i), 0);
    }
    ck_assert_uint_eq(pending_nearest(NOW), NEVER);
}

TEST(a_slot_that_is_due_again_is_carried_out_again)
{
    struct pending *pending = arm(&entries[0], NOW);
    ck_assert_uint_eq(run(NOW), 1);
    pending_due(pending, &entries[0], NOW + 7);
    ck_assert_uint_eq(pending_nearest(NOW), NOW + 7);
    ck_assert_uint_eq(run(NOW + 6), 0);
    ck_assert_uint_eq(run(NOW + 7), 1);
    pending_due(pending, &entries[0], NOW + 9);
    pending_due(pending, &entries[0], NEVER);
    ck_assert_uint_eq(run(NOW + 9), 0);
    ck_assert_uint_eq(pending_nearest(NOW), NEVER);
}

TEST(what_somebody_has_claimed_is_left_to_him_and_stays_due)
{
    arm(&entries[0], NOW);
    struct pending *pending = pending_claim(&entries[0]);
    arm(&entries[1], NOW + 5);
    ck_assert_uint_eq(pending_nearest(NOW + 5), NOW);
    ck_assert_uint_eq(run(NOW + 5), 1);
    ck_assert_ptr_eq(last->entry, &entries[1]);
    pending_release(pending, NOW);
    ck_assert_uint_eq(pending_nearest(NOW + 5), NOW);
    ck_assert_uint_eq(run(NOW + 5), 1);
    ck_assert_ptr_eq(last, pending);
}

/* Else every thread that waits would ask for it over and over until then, without a pause. */
TEST(what_somebody_has_claimed_is_looked_at_again_a_millisecond_later)
{
    arm(&entries[0], NOW);
    struct pending *pending = pending_claim(&entries[0]);
    for (uint64_t now = NOW + 5; now < NOW + 5 * NS_PER_MS; now += NS_PER_MS) {
        ck_assert_uint_eq(run(now), 0);
        ck_assert_uint_eq(pending_nearest(now), now + NS_PER_MS);
        ck_assert_uint_eq(run(now + NS_PER_MS - 1), 0);
        ck_assert_uint_eq(pending_nearest(now + NS_PER_MS - 1), now + NS_PER_MS);
    }
    pending_put_back(pending); /* as due as it was */
    ck_assert_uint_eq(pending_nearest(NOW + 5 + 5 * NS_PER_MS), NOW);
    ck_assert_uint_eq(run(NOW + 5 + 5 * NS_PER_MS), 1);
    ck_assert_ptr_eq(last, pending);
    ck_assert_uint_eq(pending_nearest(NOW + 5 + 5 * NS_PER_MS), NEVER);
}

TEST(an_ended_slot_belongs_to_nobody_and_is_used_again)
{
    struct pending *first = arm(&entries[0], NOW);
    ck_assert_ptr_eq(pending_of(&entries[0]), first);
    end(&entries[0]);
    ck_assert_ptr_null(pending_of(&entries[0]));
    ck_assert_ptr_null(pending_claim(&entries[0]));
    ck_assert_uint_eq(run(NOW), 0);
    for (unsigned i = 0; i < 20000; i++) {
        ck_assert_ptr_eq(arm(&entries[1], NOW + i), first);
        ck_assert_ptr_eq(pending_of(&entries[1]), first);
        end(&entries[1]);
    }
    for (unsigned i = 0; i < 200; i++)
        arm(&entries[i], NOW);
    for (unsigned i = 0; i < 200; i++)
        end(&entries[i]);
    for (unsigned i = 0; i < 200; i++)
        ck_assert_uint_lt(arm(&entries[i], NOW)->number, 200);
}

TEST(who_does_not_own_a_slot_any_more_changes_nothing)
{
    struct pending *pending = arm(&entries[0], NOW);
    end(&entries[0]);
    ck_assert_ptr_eq(arm(&entries[1], NOW + 9), pending);
    pending_due(pending, &entries[0], NOW + 1);
    ck_assert_uint_eq(pending->due_ns, NOW + 9);
    pending_due(pending, &entries[1], NOW + 1);
    ck_assert_uint_eq(pending->due_ns, NOW + 1);
}

TEST(an_entry_has_one_slot)
{
    struct pending *first = arm(&entries[0], NOW), *second = pending_take(&entries[0]);
    ck_assert(!pending_publish(second, PENDING_FLYING));
    ck_assert_ptr_eq(pending_of(&entries[0]), first);
    ck_assert_uint_eq(pending_head->used, 1);
    ck_assert_uint_eq(pending_head->connects, 0);
    ck_assert_ptr_eq(arm(&entries[1], NOW), second);
}

TEST(each_slot_is_shown_in_turn)
{
    unsigned seen = 0;
    for (unsigned i = 0; i < 200; i++)
        arm(&entries[i], NEVER);
    uint32_t cursor = 0;
    for (struct pending *pending; (pending = pending_each(&cursor));)
        seen += pending->entry == &entries[seen];
    ck_assert_uint_eq(seen, 200);
}

TEST(waits_are_calm_after_all_has_ended)
{
    for (unsigned i = 0; i < 200; i++)
        arm(&entries[i], NOW + i);
    ck_assert(!pending_can_calm());
    pending_calm();
    ck_assert(pending_is_busy());
    for (unsigned i = 0; i < 200; i++)
        end(&entries[i]);
    ck_assert(pending_can_calm());
    pending_calm();
    ck_assert(!pending_is_busy());
    ck_assert_uint_eq(pending_nearest(NOW), NEVER);
    arm(&entries[3], NOW + 3);
    ck_assert(pending_is_busy());
    ck_assert_uint_eq(pending_nearest(NOW), NOW + 3);
    ck_assert_uint_eq(run(NOW + 3), 1);
}

TEST(waits_are_busy_while_a_connect_has_not_ended_though_nothing_is_due)
{
    struct pending *pending = pending_take(&entries[0]);
    pending_publish(pending, PENDING_FLYING);
    pending_release(pending, NEVER);
    static const enum pending_phase phases[] = {PENDING_PARKED, PENDING_FLYING, PENDING_FAILED};
    for (unsigned i = 0; i < sizeof phases / sizeof *phases; i++) {
        pending_calm();
        ck_assert(pending_is_busy());
        ck_assert_uint_eq(pending_head->connects, 1);
        pending_enter(pending_claim(&entries[0]), phases[i]);
        pending_release(pending, NEVER);
    }
    pending_enter(pending_claim(&entries[0]), PENDING_ANSWER);
    pending_release(pending, NEVER);
    ck_assert_uint_eq(pending_head->connects, 0);
    pending_calm();
    ck_assert(!pending_is_busy());
}

TEST(what_is_withheld_is_due_before_the_rest_and_keeps_waits_busy)
{
    struct pending *pending = arm(&entries[0], NOW + 10);
    ck_assert_ptr_eq(pending_claim(&entries[0]), pending);
    pending_withhold(pending, NOW + 7, NOW + 5);
    pending_release(pending, NOW + 10);
    ck_assert_uint_eq(run(NOW + 4), 0);
    ck_assert_uint_eq(run(NOW + 5), 1);
    pending_claim(&entries[0]);
    pending_withhold(pending, NOW + 7, 0);
    pending_release(pending, NOW + 10);
    ck_assert_uint_eq(run(NOW + 6), 0);
    ck_assert_uint_eq(run(NOW + 7), 1);
    pending_claim(&entries[0]);
    pending_withhold(pending, NEVER, NEVER);
    pending_release(pending, NOW + 20);
    ck_assert_uint_eq(pending_head->withheld, 1);
    ck_assert_uint_eq(run(NOW + 19), 0);
    ck_assert_uint_eq(run(NOW + 20), 1);
    pending_calm();
    ck_assert(pending_is_busy());
    end(&entries[0]);
    ck_assert_uint_eq(pending_head->withheld, 0);
    pending_calm();
    ck_assert(!pending_is_busy());
}

TEST(a_claim_that_is_put_back_changes_nothing)
{
    struct pending *pending = arm(&entries[0], NOW + 10);
    pending_claim(&entries[0]);
    pending_due(pending, &entries[0], NOW + 3); /* by somebody without a claim */
    pending_put_back(pending);
    ck_assert_uint_eq(run(NOW + 2), 0);
    ck_assert_uint_eq(run(NOW + 3), 1);
    end(&entries[0]);
}

TEST(a_time_that_comes_too_late_for_its_slot_is_forgotten)
{
    arm(&entries[1], NOW);
    struct pending *pending = arm(&entries[0], NEVER);
    end(&entries[0]);
    /* By a sender who had seen that the slot was there, and was overtaken. */
    atomic_store(&pending->due_ns, NOW);
    ck_assert_uint_eq(run(NOW), 1);
    ck_assert_uint_eq(pending_nearest(NOW), NEVER);
    end(&entries[1]);
}

TEST(a_fork_child_starts_empty)
{
    for (unsigned i = 0; i < 200; i++)
        arm(&entries[i], NOW + i);
    struct pending *held = pending_claim(&entries[7]);
    pid_t child = fork();
    if (child == 0) {
        uint32_t cursor = 0;
        bool is_empty = pending_nearest(NOW) == NEVER && run(NOW + 500) == 0 && !pending_each(&cursor) &&
                        !pending_claim(&entries[3]) && !pending_of(&entries[7]) && pending_can_calm();
        pending_calm();
        bool is_calm = !pending_is_busy();
        /* What it begins itself takes the numbers of its parent's slots, and no entry of them for its own. */
        struct descriptor own[8] = {0};
        bool is_own = true;
        for (unsigned i = 0; i < 8; i++)
            is_own &= pending_of(&own[i]) == NULL && arm(&own[i], NOW + i) == pending_of(&own[i]);
        is_own &= !pending_claim(&entries[3]) && pending_nearest(NOW - 1) == NOW && run(NOW + 500) == 8;
        _exit(is_empty + 2 * is_calm + 4 * is_own);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(WEXITSTATUS(status), 7);
    pending_release(held, NOW + 7);
    ck_assert_uint_eq(pending_nearest(NOW), NOW);
    ck_assert_uint_eq(run(NOW + 500), 200);
}

/* Threads arm slots of their own, arm them anew and end them, while others carry out what is due. Time goes on only as far
 * as the table says that something is due: what it forgot would never be carried out. */
#define WORKERS 3
#define OWN     40
#define ROUNDS  400

static _Atomic uint64_t clock_ns = NOW;
static _Atomic unsigned working;
static _Atomic uint32_t carried_out[WORKERS * OWN]; /* how often */
static _Atomic bool is_early, is_late, is_calm_too_soon;

static void count(struct pending *pending, void *context)
{
    /* Due it must be, as of when the run began. */
    if (atomic_load(&pending->due_ns) > *(const uint64_t *)context)
        atomic_store(&is_early, true);
    atomic_fetch_add(&carried_out[pending->entry - entries], 1);
    if (pending->number & 1)
        pending_end(pending);
    else
        pending_release(pending, NEVER);
}

static void *carry_out(void *unused)
{
    while (atomic_load(&working)) {
        uint64_t now = atomic_load(&clock_ns), nearest = pending_nearest(now);
        if (nearest != NEVER && nearest > now)
            atomic_compare_exchange_strong(&clock_ns, &now, nearest);
        now = atomic_load(&clock_ns);
        pending_run(now, count, &now);
        pending_calm();
    }
    return unused;
}

/* Not later than that, and nobody is calm, as long as it was not carried out. While a run goes on it is said to be soon. */
static void expect_nearest(unsigned number, uint32_t before, uint64_t due_ns)
{
    uint64_t runs = atomic_load(&pending_head->runs), now = atomic_load(&clock_ns);
    uint64_t nearest = pending_nearest(now);
    bool is_busy = pending_is_busy();
    bool is_run_seen = runs & 0xffff || atomic_load(&pending_head->runs) != runs;
    if (atomic_load(&carried_out[number]) != before)
        return;
    if (nearest > due_ns && (!is_run_seen || nearest > now + NS_PER_MS))
        atomic_store(&is_late, true);
    if (!is_busy)
        atomic_store(&is_calm_too_soon, true);
}

static void *work(void *context)
{
    unsigned first = (unsigned)(uintptr_t)context * OWN;
    struct random random = {first + 1};
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned number = first + (unsigned)random_below(&random, OWN);
        struct descriptor *entry = &entries[number];
        uint32_t before = atomic_load(&carried_out[number]);
        struct pending *pending = pending_claim(entry);
        if (!pending) {
            pending = pending_take(entry);
            pending_publish(pending, round % 2 ? PENDING_FLYING : PENDING_ANSWER);
        }
        uint64_t due_ns = atomic_load(&clock_ns) + random_below(&random, 20 * NS_PER_MS);
        pending_release(pending, due_ns);
        expect_nearest(number, before, due_ns);
        pending = round % 3 ? NULL : pending_claim(entry);
        if (pending) {
            pending_end(pending);
            continue;
        }
        while (atomic_load(&carried_out[number]) == before) {
            sched_yield();
            expect_nearest(number, before, due_ns);
        }
    }
    atomic_fetch_sub(&working, 1);
    return NULL;
}

TEST(nothing_that_is_due_is_lost_among_threads)
{
    pthread_t workers[WORKERS], runners[2];
    working = WORKERS;
    arm(&entries[0], NOW); /* before there are threads: the table itself is made without locks */
    end(&entries[0]);
    for (uintptr_t i = 0; i < WORKERS; i++)
        ck_assert_int_eq(pthread_create(&workers[i], NULL, work, (void *)i), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&runners[i], NULL, carry_out, NULL), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(runners[i], NULL);
    ck_assert(!is_early);
    ck_assert(!is_late);
    ck_assert(!is_calm_too_soon);
    for (unsigned i = 0; i < WORKERS * OWN; i++)
        if (pending_of(&entries[i]))
            end(&entries[i]);
    ck_assert_uint_eq(pending_head->used, 0);
    ck_assert_uint_eq(pending_head->connects, 0);
    ck_assert_uint_eq(pending_head->runs & 0xffff, 0);
    ck_assert_uint_le(pending_head->made, WORKERS * OWN);
    pending_calm();
    ck_assert(!pending_is_busy());
    ck_assert_uint_eq(pending_nearest(NOW), NEVER);
}

/* Else its own next wait would go straight to libc, and sleep through what is due. */
static void *calm(void *unused)
{
    while (atomic_load(&working)) {
        pending_run(NOW, count, &(uint64_t){NOW});
        pending_calm();
    }
    return unused;
}

TEST(a_thread_that_has_armed_something_finds_waits_busy)
{
    pthread_t calmers[2];
    working = 1;
    arm(&entries[0], NOW);
    end(&entries[0]);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&calmers[i], NULL, calm, NULL), 0);
    unsigned calm_ones = 0;
    for (unsigned round = 0; round < 200000; round++) {
        arm(&entries[0], NOW + 1 + round % 2);
        calm_ones += !pending_is_busy();
        end(&entries[0]);
    }
    working = 0;
    for (unsigned i = 0; i < 2; i++)
        pthread_join(calmers[i], NULL);
    ck_assert_uint_eq(calm_ones, 0);
    pending_calm();
    ck_assert(!pending_is_busy());
}

SUITE("pending", nothing_is_due_at_first, what_is_due_is_carried_out_once_and_the_rest_waits,
      a_slot_that_is_due_again_is_carried_out_again, what_somebody_has_claimed_is_left_to_him_and_stays_due,
      what_somebody_has_claimed_is_looked_at_again_a_millisecond_later,
      an_ended_slot_belongs_to_nobody_and_is_used_again, who_does_not_own_a_slot_any_more_changes_nothing,
      an_entry_has_one_slot, each_slot_is_shown_in_turn, waits_are_calm_after_all_has_ended,
      waits_are_busy_while_a_connect_has_not_ended_though_nothing_is_due,
      what_is_withheld_is_due_before_the_rest_and_keeps_waits_busy, a_claim_that_is_put_back_changes_nothing,
      a_time_that_comes_too_late_for_its_slot_is_forgotten, a_fork_child_starts_empty,
      nothing_that_is_due_is_lost_among_threads, a_thread_that_has_armed_something_finds_waits_busy)
