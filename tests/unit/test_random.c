#include "policy/random.h"

#include "suite.h"

TEST(numbers_are_those_of_splitmix64)
{
    /* From the reference implementation, seed 1234567. */
    struct random random = {1234567};
    ck_assert_uint_eq(random_next(&random), 6457827717110365317u);
    ck_assert_uint_eq(random_next(&random), 3203168211198807973u);
    ck_assert_uint_eq(random_next(&random), 9817491932198370423u);
}

TEST(same_seed_gives_same_numbers)
{
    struct random one = {42}, other = {42};
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(random_below(&one, 1000), random_below(&other, 1000));
}

TEST(seed_zero_is_a_good_seed)
{
    struct random random = {0};
    uint64_t first = random_next(&random);
    ck_assert_uint_ne(first, 0);
    ck_assert_uint_ne(random_next(&random), first);
}

TEST(below_stays_below_and_reaches_every_number)
{
    struct random random = {7};
    unsigned seen[10] = {0};
    for (int i = 0; i < 10000; i++) {
        uint64_t drawn = random_below(&random, 10);
        ck_assert_uint_lt(drawn, 10);
        seen[drawn]++;
    }
    for (int i = 0; i < 10; i++) {
        ck_assert_uint_gt(seen[i], 900);
        ck_assert_uint_lt(seen[i], 1100);
    }
}

TEST(below_zero_and_one_is_zero)
{
    struct random random = {7};
    for (int i = 0; i < 100; i++) {
        ck_assert_uint_eq(random_below(&random, 0), 0);
        ck_assert_uint_eq(random_below(&random, 1), 0);
    }
}

TEST(below_draws_once_whatever_the_bound)
{
    struct random one = {7}, other = {7};
    random_below(&one, 0);
    random_below(&other, UINT64_MAX);
    ck_assert_uint_eq(one.state, other.state);
}

TEST(chance_of_nothing_never_comes)
{
    struct random random = {7};
    for (int i = 0; i < 100000; i++)
        ck_assert(!random_chance(&random, 0));
}

TEST(chance_of_everything_always_comes)
{
    struct random random = {7};
    for (int i = 0; i < 100000; i++) {
        ck_assert(random_chance(&random, PPM_ONE));
        ck_assert(random_chance(&random, UINT32_MAX));
    }
}

TEST(chance_keeps_its_ratio)
{
    struct random random = {7};
    unsigned hits = 0;
    for (int i = 0; i < 100000; i++)
        hits += random_chance(&random, 200000);
    ck_assert_uint_gt(hits, 19500);
    ck_assert_uint_lt(hits, 20500);
}

SUITE("random", numbers_are_those_of_splitmix64, same_seed_gives_same_numbers, seed_zero_is_a_good_seed,
      below_stays_below_and_reaches_every_number, below_zero_and_one_is_zero,
      below_draws_once_whatever_the_bound, chance_of_nothing_never_comes, chance_of_everything_always_comes,
      chance_keeps_its_ratio)
