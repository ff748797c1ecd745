#include "state/credits.h"

#include "suite.h"

#define S   UINT64_C(1000000000)
#define NOW (100 * S)

static const struct call failed = {
    .action = CALL_DONE, .ending = CALL_FAILED, .attempts = 3, .params = {.total_ns = 8 * S}};

TEST(what_was_left_is_used_up)
{
    ck_assert(!credits_use(7, NOW));
    credits_leave(7, &failed, 3, NOW);
    ck_assert(!credits_use(8, NOW));
    ck_assert(credits_use(7, NOW));
    ck_assert(credits_use(7, NOW + 7 * S));
    ck_assert(!credits_use(7, NOW + 7 * S));
}

TEST(what_was_left_before_is_replaced)
{
    credits_leave(7, &failed, 9, NOW);
    credits_leave(7, &failed, 2, NOW + S);
    ck_assert(credits_use(7, NOW + S));
    ck_assert(!credits_use(7, NOW + S));
}

TEST(calls_that_earned_nothing_leave_nothing)
{
    struct call single = failed;
    single.attempts = 1;
    credits_leave(7, &single, 3, NOW);
    ck_assert(!credits_use(7, NOW));
}

TEST(a_full_table_keeps_those_that_last_longest)
{
    for (uint64_t i = 1; i <= 20; i++)
        credits_leave(i << 48, &failed, 2, NOW + i * S / 4);
    for (uint64_t i = 17; i <= 20; i++)
        ck_assert(credits_use(i << 48, NOW + 5 * S));
    ck_assert(!credits_use(UINT64_C(1) << 48, NOW + 5 * S));
}

SUITE("credits", what_was_left_is_used_up, what_was_left_before_is_replaced,
      calls_that_earned_nothing_leave_nothing, a_full_table_keeps_those_that_last_longest)
