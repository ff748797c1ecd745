#include "policy/backoff.h"

#include "suite.h"

#define MS     UINT64_C(1000000)
#define DRAWS  2000
#define ALWAYS for (int draw = 0; draw < DRAWS; draw++)

static struct backoff_params params(enum jitter jitter)
{
    return (struct backoff_params){
        .base_delay_ns = 50 * MS, .max_delay_ns = 2000 * MS, .factor_ppm = 2 * PPM_ONE, .jitter = jitter};
}

/* The least and the greatest of many delays. */
struct range {
    uint64_t least, greatest;
};
static struct range range_of(struct backoff_params params, uint32_t retry, uint64_t previous_ns)
{
    struct random random = {retry};
    struct range range = {UINT64_MAX, 0};
    ALWAYS
    {
        uint64_t delay = backoff_delay(&params, retry, previous_ns, &random);
        range.least = delay < range.least ? delay : range.least;
        range.greatest = delay > range.greatest ? delay : range.greatest;
    }
    return range;
}

static uint64_t plain(struct backoff_params params, uint32_t retry)
{
    struct random random = {1};
    return backoff_delay(&params, retry, 0, &random);
}

TEST(delay_doubles_from_the_base_to_the_maximum)
{
    static const uint64_t expected_ms[] = {50, 100, 200, 400, 800, 1600, 2000, 2000};
    for (uint32_t i = 0; i < 8; i++)
        ck_assert_uint_eq(plain(params(JITTER_NONE), i + 1), expected_ms[i] * MS);
}

TEST(factor_may_be_a_fraction)
{
    struct backoff_params half_more = params(JITTER_NONE);
    half_more.factor_ppm = 1500000;
    ck_assert_uint_eq(plain(half_more, 2), 75 * MS);
    ck_assert_uint_eq(plain(half_more, 3), 112 * MS + MS / 2);
}

TEST(factor_of_one_keeps_the_delay)
{
    struct backoff_params constant = params(JITTER_NONE);
    constant.factor_ppm = PPM_ONE;
    ck_assert_uint_eq(plain(constant, 1), 50 * MS);
    ck_assert_uint_eq(plain(constant, UINT32_MAX), 50 * MS);
}

TEST(factor_too_small_for_the_base_ends)
{
    struct backoff_params creeping = {
        .base_delay_ns = 1, .max_delay_ns = 2000 * MS, .factor_ppm = PPM_ONE + 1};
    creeping.jitter = JITTER_NONE;
    ck_assert_uint_eq(plain(creeping, UINT32_MAX), 1);
}

TEST(base_of_zero_is_no_delay)
{
    struct backoff_params at_once = params(JITTER_NONE);
    at_once.base_delay_ns = 0;
    for (int jitter = JITTER_FULL; jitter <= JITTER_NONE; jitter++) {
        at_once.jitter = (enum jitter)jitter;
        ck_assert_uint_eq(plain(at_once, 1), 0);
        ck_assert_uint_eq(plain(at_once, 100), 0);
    }
}

TEST(base_above_the_maximum_is_cut)
{
    struct backoff_params upside_down = params(JITTER_NONE);
    upside_down.base_delay_ns = 5000 * MS;
    ck_assert_uint_eq(plain(upside_down, 1), 2000 * MS);
    upside_down.jitter = JITTER_DECORRELATED;
    ck_assert_uint_eq(plain(upside_down, 1), 2000 * MS);
}

TEST(growth_does_not_overflow)
{
    struct backoff_params huge = {.base_delay_ns = UINT64_MAX / 3,
                                  .max_delay_ns = UINT64_MAX - 1,
                                  .factor_ppm = UINT32_MAX,
                                  .jitter = JITTER_NONE};
    ck_assert_uint_eq(plain(huge, 2), UINT64_MAX - 1);
    ck_assert_uint_eq(plain(huge, 1000), UINT64_MAX - 1);
    huge.jitter = JITTER_DECORRELATED;
    struct random random = {1};
    ALWAYS
    {
        uint64_t delay = backoff_delay(&huge, 5, UINT64_MAX - 1, &random);
        ck_assert_uint_ge(delay, huge.base_delay_ns);
        ck_assert_uint_lt(delay, UINT64_MAX - 1);
    }
}

TEST(maximum_of_zero_is_no_bound)
{
    struct backoff_params unbounded = params(JITTER_NONE);
    unbounded.max_delay_ns = 0;
    ck_assert_uint_eq(plain(unbounded, 11), 51200 * MS);
    ck_assert_uint_eq(plain(unbounded, 1000), UINT64_MAX);
}

TEST(full_jitter_fills_the_range_from_zero)
{
    struct range range = range_of(params(JITTER_FULL), 3, 0);
    ck_assert_uint_lt(range.least, 2 * MS);
    ck_assert_uint_gt(range.greatest, 198 * MS);
    ck_assert_uint_lt(range.greatest, 200 * MS);
}

TEST(equal_jitter_keeps_half)
{
    struct range range = range_of(params(JITTER_EQUAL), 3, 0);
    ck_assert_uint_ge(range.least, 100 * MS);
    ck_assert_uint_lt(range.least, 102 * MS);
    ck_assert_uint_gt(range.greatest, 198 * MS);
    ck_assert_uint_lt(range.greatest, 200 * MS);
}

TEST(decorrelated_jitter_follows_the_delay_before)
{
    struct range first = range_of(params(JITTER_DECORRELATED), 1, 0);
    ck_assert_uint_ge(first.least, 50 * MS);
    ck_assert_uint_lt(first.least, 52 * MS);
    ck_assert_uint_gt(first.greatest, 148 * MS);
    ck_assert_uint_lt(first.greatest, 150 * MS);

    struct range later = range_of(params(JITTER_DECORRELATED), 2, 140 * MS);
    ck_assert_uint_ge(later.least, 50 * MS);
    ck_assert_uint_gt(later.greatest, 410 * MS);
    ck_assert_uint_lt(later.greatest, 420 * MS);
}

TEST(jitter_survives_at_the_cap)
{
    for (int jitter = JITTER_FULL; jitter < JITTER_NONE; jitter++) {
        struct range range = range_of(params((enum jitter)jitter), 50, 2000 * MS);
        ck_assert_uint_lt(range.least, 1010 * MS);
        ck_assert_uint_gt(range.greatest, 1980 * MS);
        ck_assert_uint_lt(range.greatest, 2000 * MS);
    }
    /* No heap of equal delays at the top. */
    struct backoff_params decorrelated = params(JITTER_DECORRELATED);
    struct random random = {3};
    int near_the_top = 0;
    ALWAYS near_the_top += backoff_delay(&decorrelated, 50, 2000 * MS, &random) > 1900 * MS;
    ck_assert_int_lt(near_the_top, DRAWS / 10);
}

SUITE("backoff", delay_doubles_from_the_base_to_the_maximum, factor_may_be_a_fraction,
      factor_of_one_keeps_the_delay, factor_too_small_for_the_base_ends, base_of_zero_is_no_delay,
      base_above_the_maximum_is_cut, growth_does_not_overflow, maximum_of_zero_is_no_bound,
      full_jitter_fills_the_range_from_zero, equal_jitter_keeps_half,
      decorrelated_jitter_follows_the_delay_before, jitter_survives_at_the_cap)
