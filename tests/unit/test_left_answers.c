#include <pthread.h>

#include "base/clock.h"
#include "state/left_answers.h"
#include "suite.h"

#define NOW UINT64_C(1000000000000)

static struct descriptor entries[PENDING_LEFT + 1];
static struct pending *slots[PENDING_LEFT + 1];

/* A slot of its own, claimed, whose answer was due then. */
static struct pending *await(unsigned number, uint64_t due_ns)
{
    struct pending *pending = slots[number] = pending_take(&entries[number]);
    ck_assert_ptr_nonnull(pending);
    pending_publish(pending, PENDING_ANSWER);
    atomic_store(&pending->answer_due_ns, due_ns);
    return pending;
}

static unsigned count(void)
{
    unsigned turn = 0, number = 0;
    while (left_answers_next(&turn))
        number++;
    return number;
}

TEST(none_is_left_at_first)
{
    struct pending *pending = await(0, NEVER);
    ck_assert(!left_answers_are_any());
    ck_assert(!left_answers_have(pending));
    ck_assert_uint_eq(count(), 0);
}

TEST(what_is_left_is_found_by_everybody_until_another_time_is_set)
{
    struct pending *pending = await(0, NOW);
    pending_calm();
    ck_assert(left_answers_add(pending));
    ck_assert(left_answers_add(pending)); /* once more: it is there already */
    ck_assert(left_answers_have(pending));
    ck_assert(pending_is_busy());
    for (unsigned i = 0; i < 3; i++) {
        unsigned turn = 0;
        ck_assert_ptr_eq(left_answers_next(&turn), pending);
        ck_assert_ptr_null(left_answers_next(&turn));
    }
    pending_calm();
    ck_assert(pending_is_busy());
    atomic_store(&pending->answer_due_ns, NOW + 1);
    ck_assert(!left_answers_have(pending));
    ck_assert_uint_eq(count(), 0);
    ck_assert(!left_answers_are_any());
    pending_calm();
    ck_assert(!pending_is_busy());
}

TEST(what_has_ended_is_forgotten)
{
    ck_assert(left_answers_add(await(0, NOW)));
    pending_end(slots[0]);
    struct pending *pending = await(1, NOW);
    ck_assert_ptr_eq(pending, slots[0]); /* the same slot, of another connection */
    ck_assert(!left_answers_have(pending));
    ck_assert_uint_eq(count(), 0);
    ck_assert(!left_answers_are_any());
}

TEST(there_is_room_for_so_many)
{
    for (unsigned i = 0; i < PENDING_LEFT; i++)
        ck_assert(left_answers_add(await(i, NOW + i)));
    struct pending *one_more = await(PENDING_LEFT, NOW);
    ck_assert(!left_answers_add(one_more));
    ck_assert(!left_answers_have(one_more));
    ck_assert_uint_eq(count(), PENDING_LEFT);
    atomic_store(&slots[5]->answer_due_ns, NEVER);
    ck_assert_uint_eq(count(), PENDING_LEFT - 1);
    ck_assert(left_answers_add(one_more));
    ck_assert_uint_eq(count(), PENDING_LEFT);
}

static void *leave_and_take_back(void *argument)
{
    struct pending *pending = argument;
    for (unsigned i = 0; i < 20000; i++) {
        atomic_store(&pending->answer_due_ns, NOW + i);
        if (!left_answers_add(pending))
            return (void *)"no room";
        unsigned turn = 0;
        struct pending *found;
        while ((found = left_answers_next(&turn)) && found != pending)
            ;
        if (!found)
            return (void *)"it was lost";
        atomic_store(&pending->answer_due_ns, NEVER);
    }
    return NULL;
}

TEST(threads_lose_none)
{
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, leave_and_take_back, await(i, NOW)), 0);
    for (unsigned i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        ck_assert_msg(!wrong, "%s", wrong ? (char *)wrong : "");
    }
    ck_assert_uint_eq(count(), 0);
    ck_assert(!left_answers_are_any());
}

SUITE("answers that are left to others", none_is_left_at_first,
      what_is_left_is_found_by_everybody_until_another_time_is_set, what_has_ended_is_forgotten,
      there_is_room_for_so_many, threads_lose_none)
