#include "state/limits.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define S   UINT64_C(1000000000)
#define NOW (100 * S)

#define THREADS 4

static const struct limit_params three = {.connections = 3};

static enum limit_verdict enter(struct limit_handle handle)
{
    return limits_enter(handle, &three, NOW, NOW).verdict;
}

static void fill(struct limit_handle handle)
{
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(enter(handle), LIMIT_ADMIT);
        limits_connected(handle, NOW);
    }
    ck_assert_int_eq(enter(handle), LIMIT_REJECT);
}

TEST(a_target_keeps_its_limit)
{
    struct limit_handle one = limits_find(1, NOW);
    ck_assert_ptr_nonnull(one.limit);
    ck_assert_ptr_eq(limits_find(1, NOW).limit, one.limit);
    ck_assert_ptr_eq(limits_known(1).limit, one.limit);
    ck_assert_ptr_ne(limits_find(2, NOW).limit, one.limit);
    ck_assert_ptr_null(limits_known(3).limit);
}

TEST(places_are_taken_and_given_back)
{
    struct limit_handle handle = limits_find(1, NOW);
    fill(handle);
    limits_ended(limits_known(1), NOW);
    ck_assert_int_eq(enter(handle), LIMIT_ADMIT);
    limits_left(handle, NOW);
    ck_assert_int_eq(enter(handle), LIMIT_ADMIT);
}

TEST(a_count_is_put_right)
{
    struct limit_handle handle = limits_find(1, NOW);
    fill(handle);
    uint64_t before = limits_places(handle);
    ck_assert(limits_correct(handle, before, 2, S, NOW));
    ck_assert_int_eq(enter(handle), LIMIT_ADMIT);
    ck_assert_int_eq(enter(handle), LIMIT_REJECT);
}

TEST(a_count_that_is_out_of_date_is_not_believed)
{
    struct limit_handle handle = limits_find(1, NOW);
    fill(handle);
    uint64_t before = limits_places(handle);
    limits_ended(handle, NOW);
    enter(handle);
    limits_connected(handle, NOW);
    ck_assert(!limits_correct(handle, before, 0, S, NOW));
    ck_assert_int_eq(enter(handle), LIMIT_REJECT);
}

TEST(calls_that_never_came_back_lose_their_places)
{
    struct limit_handle handle = limits_find(1, NOW);
    for (int i = 0; i < 3; i++)
        enter(handle);
    ck_assert(limits_correct(handle, limits_places(handle), 0, 5 * S, NOW + 5 * S));
    ck_assert_int_eq(enter(handle), LIMIT_REJECT);
    ck_assert(limits_correct(handle, limits_places(handle), 0, 5 * S, NOW + 5 * S + 1));
    ck_assert_int_eq(enter(handle), LIMIT_ADMIT);
}

TEST(a_fork_child_begins_empty)
{
    struct limit_handle handle = limits_find(1, NOW);
    fill(handle);
    pid_t child = fork();
    if (child == 0) {
        limits_ended(handle, NOW); /* closes what it inherited */
        struct limit_handle own = limits_find(1, NOW);
        bool is_good = own.limit && limit_view(limits_places(own)).live == 0 && enter(own) == LIMIT_ADMIT;
        _exit(is_good ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(enter(handle), LIMIT_REJECT);
}

TEST(a_full_table_admits_everything_and_keeps_what_is_used)
{
    struct limit_handle used = limits_find(1, NOW);
    fill(used);
    for (uint64_t key = 2; key < 5000; key++)
        ck_assert_ptr_nonnull(limits_find(key, NOW).limit);
    ck_assert_ptr_eq(limits_find(1, NOW).limit, used.limit);
    for (uint64_t key = 10000; key < 10000 + 512; key++)
        limits_enter(limits_find(key, NOW), &three, NOW, NOW);
    struct limit_handle none = limits_find(20000, NOW);
    ck_assert_ptr_null(none.limit);
    ck_assert_int_eq(enter(none), LIMIT_ADMIT);
    limits_ended(none, NOW);
    ck_assert_int_eq(limits_take(none, &three, NOW, NOW).verdict, LIMIT_ADMIT);
}

static _Atomic unsigned admitted;
static void *come_and_go(void *unused)
{
    struct limit_handle handle = limits_find(1, NOW);
    for (int i = 0; i < 20000; i++) {
        if (enter(handle) != LIMIT_ADMIT)
            continue;
        if (atomic_fetch_add(&admitted, 1) >= 3)
            _exit(1);
        limits_connected(handle, NOW);
        atomic_fetch_sub(&admitted, 1);
        limits_ended(handle, NOW);
    }
    return unused;
}

TEST(no_more_than_the_limit_among_threads)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, come_and_go, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct limit_view view = limit_view(limits_places(limits_known(1)));
    ck_assert_uint_eq(view.live, 0);
    ck_assert_uint_eq(view.pending, 0);
}

SUITE("limits", a_target_keeps_its_limit, places_are_taken_and_given_back, a_count_is_put_right,
      a_count_that_is_out_of_date_is_not_believed, calls_that_never_came_back_lose_their_places,
      a_fork_child_begins_empty, a_full_table_admits_everything_and_keeps_what_is_used,
      no_more_than_the_limit_among_threads)
