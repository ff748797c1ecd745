#include "policy/budget.h"

#include "policy/random.h"
#include "suite.h"

#define S UINT64_C(1000000000)

static bool allows(uint32_t ratio_ppm, uint32_t floor_per_s, uint64_t window_ns, uint32_t calls,
                   uint32_t retries)
{
    struct budget_params params = {
        .ratio_ppm = ratio_ppm, .floor_per_s = floor_per_s, .window_ns = window_ns};
    return budget_allows(&params, (struct window_sum){.events = calls, .marked = retries});
}

TEST(without_a_window_everything_is_allowed)
{
    ck_assert(allows(0, 0, 0, 0, UINT32_MAX));
}

TEST(retries_are_a_share_of_the_calls)
{
    ck_assert(allows(200000, 0, 10 * S, 100, 19));
    ck_assert(!allows(200000, 0, 10 * S, 100, 20));
    ck_assert(!allows(200000, 0, 10 * S, 100, 21));
}

TEST(share_of_a_retry_is_enough_for_the_next)
{
    ck_assert(allows(200000, 0, 10 * S, 1, 0));
    ck_assert(!allows(200000, 0, 10 * S, 4, 1));
    ck_assert(!allows(200000, 0, 10 * S, 5, 1));
    ck_assert(allows(200000, 0, 10 * S, 6, 1));
}

TEST(floor_is_always_allowed)
{
    ck_assert(allows(0, 10, 10 * S, 0, 99));
    ck_assert(!allows(0, 10, 10 * S, 0, 100));
    ck_assert(allows(0, 1, S / 2, 0, 0));
    ck_assert(!allows(0, 1, S / 2, 0, 1));
}

TEST(floor_and_share_add_up)
{
    ck_assert(allows(200000, 10, 10 * S, 100, 119));
    ck_assert(!allows(200000, 10, 10 * S, 100, 120));
}

TEST(budget_of_nothing_allows_nothing)
{
    ck_assert(!allows(0, 0, 10 * S, UINT32_MAX, 0));
}

TEST(greatest_values_do_not_overflow)
{
    ck_assert(allows(PPM_ONE, 0, S, UINT32_MAX, UINT32_MAX - 1));
    ck_assert(!allows(PPM_ONE, 0, S, UINT32_MAX, UINT32_MAX));
    ck_assert(!allows(PPM_ONE / 2, 0, UINT64_MAX, UINT32_MAX, UINT32_MAX));
    ck_assert(allows(0, UINT32_MAX, UINT64_MAX, 0, UINT32_MAX));
    ck_assert(allows(0, 1u << 30, (UINT64_C(1) << 34) * 1000, 0, 1)); /* the product is 2^64 */
    ck_assert(allows(UINT32_MAX, UINT32_MAX, UINT64_MAX, UINT32_MAX, UINT32_MAX));
}

SUITE("budget", without_a_window_everything_is_allowed, retries_are_a_share_of_the_calls,
      share_of_a_retry_is_enough_for_the_next, floor_is_always_allowed, floor_and_share_add_up,
      budget_of_nothing_allows_nothing, greatest_values_do_not_overflow)
