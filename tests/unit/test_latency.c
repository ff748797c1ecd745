#include "policy/latency.h"

#include "suite.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

static void add(uint64_t counts[LATENCY_BUCKETS], uint64_t ns, uint64_t times)
{
    counts[latency_bucket(ns)] += times;
}

TEST(bounds_grow_from_50_us_to_a_minute)
{
    ck_assert_uint_eq(latency_bound_ns(0), 50 * US);
    for (unsigned bucket = 1; bucket < LATENCY_BUCKETS; bucket++)
        ck_assert_uint_gt(latency_bound_ns(bucket), latency_bound_ns(bucket - 1));
    ck_assert_uint_eq(latency_bound_ns(LATENCY_BUCKETS - 2), 60 * S);
    ck_assert_uint_eq(latency_bound_ns(LATENCY_BUCKETS - 1), UINT64_MAX);
    ck_assert_uint_eq(latency_bound_ns(LATENCY_BUCKETS), UINT64_MAX);
}

TEST(a_bound_belongs_to_the_bucket_that_it_ends)
{
    for (unsigned bucket = 0; bucket < LATENCY_BUCKETS - 1; bucket++) {
        ck_assert_uint_eq(latency_bucket(latency_bound_ns(bucket)), bucket);
        ck_assert_uint_eq(latency_bucket(latency_bound_ns(bucket) + 1), bucket + 1);
    }
    ck_assert_uint_eq(latency_bucket(0), 0);
    ck_assert_uint_eq(latency_bucket(UINT64_MAX), LATENCY_BUCKETS - 1);
}

TEST(of_nothing_there_is_no_quantile)
{
    uint64_t counts[LATENCY_BUCKETS] = {0};
    ck_assert_uint_eq(latency_quantile_ns(counts, 0, 500000), 0);
}

TEST(a_quantile_lies_within_its_bucket)
{
    uint64_t counts[LATENCY_BUCKETS] = {0};
    add(counts, 15 * MS, 100); /* from 10 to 20 ms */
    ck_assert_uint_eq(latency_quantile_ns(counts, 0, 500000), 15 * MS);
    ck_assert_uint_eq(latency_quantile_ns(counts, 0, 990000), 19900 * US);
    ck_assert_uint_eq(latency_quantile_ns(counts, 0, 1000000), 20 * MS);
}

TEST(few_slow_ones_show_in_the_last_percent_only)
{
    uint64_t counts[LATENCY_BUCKETS] = {0};
    add(counts, 1 * MS, 980);
    add(counts, 3 * S, 20);
    ck_assert_uint_le(latency_quantile_ns(counts, 0, 500000), 1 * MS);
    ck_assert_uint_gt(latency_quantile_ns(counts, 0, 500000), 500 * US);
    ck_assert_uint_eq(latency_quantile_ns(counts, 0, 990000),
                      3500 * MS); /* half of those between 2 and 5 s */
}

TEST(an_empty_bucket_is_no_quantile)
{
    uint64_t counts[LATENCY_BUCKETS] = {0};
    add(counts, 1 * MS, 1);
    ck_assert_uint_eq(latency_quantile_ns(counts, 0, 0), 500 * US);
    ck_assert_uint_eq(latency_quantile_ns(counts, 0, 1000000), 1 * MS);
}

TEST(beyond_the_last_bound_only_that_is_known)
{
    uint64_t counts[LATENCY_BUCKETS] = {0};
    add(counts, 3600 * S, 5);
    ck_assert_uint_eq(latency_quantile_ns(counts, 0, 500000), 60 * S);
}

TEST(what_is_longer_is_no_longer_than_the_sum_of_all_allows)
{
    uint64_t counts[LATENCY_BUCKETS] = {0};
    add(counts, 2140 * MS, 1); /* from 2 to 5 s */
    ck_assert_uint_eq(latency_quantile_ns(counts, 2140 * MS, 500000), 2140 * MS);
    ck_assert_uint_eq(latency_quantile_ns(counts, 2140 * MS, 990000), 2140 * MS);
    add(counts, 15 * MS, 17);
    ck_assert_uint_eq(latency_quantile_ns(counts, 2395 * MS, 990000), 2395 * MS - 17 * 10 * MS);
    ck_assert_uint_eq(latency_quantile_ns(counts, 2395 * MS, 500000), latency_quantile_ns(counts, 0, 500000));
    ck_assert_uint_eq(latency_quantile_ns(counts, 1 * MS, 990000), 2 * S); /* a sum that cannot be */
}

TEST(counts_of_years_do_not_overflow)
{
    uint64_t counts[LATENCY_BUCKETS];
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        counts[i] = UINT64_MAX;
    ck_assert_uint_le(latency_quantile_ns(counts, 0, 990000), 60 * S);
    ck_assert_uint_gt(latency_quantile_ns(counts, 0, 500000), 20 * MS);
}

SUITE("latency", bounds_grow_from_50_us_to_a_minute, a_bound_belongs_to_the_bucket_that_it_ends,
      of_nothing_there_is_no_quantile, a_quantile_lies_within_its_bucket,
      few_slow_ones_show_in_the_last_percent_only, an_empty_bucket_is_no_quantile,
      beyond_the_last_bound_only_that_is_known, what_is_longer_is_no_longer_than_the_sum_of_all_allows,
      counts_of_years_do_not_overflow)
