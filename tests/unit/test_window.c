#include "policy/window.h"

#include "suite.h"

#define S      UINT64_C(1000000000)
#define WINDOW (10 * S) /* so that a tick is a second */
#define FULL   ((1u << 20) - 1)

static void add(uint64_t words[WINDOW_BUCKETS], uint32_t events, uint32_t marked, uint64_t now_ns)
{
    uint64_t tick = window_tick(WINDOW, now_ns), *word = &words[window_bucket(tick)];
    *word = window_add(*word, tick, (struct window_sum){.events = events, .marked = marked});
}

static void assert_holds(const uint64_t words[WINDOW_BUCKETS], uint32_t events, uint32_t marked,
                         uint64_t now_ns)
{
    struct window_sum total = window_total(words, WINDOW, now_ns);
    ck_assert_uint_eq(total.events, events);
    ck_assert_uint_eq(total.marked, marked);
}

TEST(empty_window_holds_nothing)
{
    uint64_t words[WINDOW_BUCKETS] = {0};
    assert_holds(words, 0, 0, 0);
    assert_holds(words, 0, 0, 5 * S);
    assert_holds(words, 0, 0, 1000000 * S);
}

TEST(events_of_one_tick_add_up)
{
    uint64_t words[WINDOW_BUCKETS] = {0};
    add(words, 1, 0, 100 * S);
    add(words, 1, 1, 100 * S + S / 2);
    add(words, 3, 2, 101 * S - 1);
    assert_holds(words, 5, 3, 101 * S - 1);
}

TEST(ticks_add_up_across_buckets)
{
    uint64_t words[WINDOW_BUCKETS] = {0};
    for (uint64_t second = 100; second < 110; second++)
        add(words, 10, 1, second * S);
    assert_holds(words, 100, 10, 109 * S);
}

TEST(events_leave_after_the_window)
{
    uint64_t words[WINDOW_BUCKETS] = {0};
    add(words, 4, 3, 100 * S);
    assert_holds(words, 4, 3, 110 * S - 1);
    assert_holds(words, 0, 0, 110 * S);
}

TEST(bucket_of_an_old_tick_is_begun_anew)
{
    uint64_t words[WINDOW_BUCKETS] = {0};
    add(words, 4, 3, 100 * S);
    ck_assert_uint_eq(window_bucket(window_tick(WINDOW, 100 * S)),
                      window_bucket(window_tick(WINDOW, 110 * S)));
    add(words, 1, 0, 110 * S);
    assert_holds(words, 1, 0, 110 * S);
}

TEST(window_slides_tick_by_tick)
{
    uint64_t words[WINDOW_BUCKETS] = {0};
    for (uint64_t second = 100; second < 110; second++)
        add(words, 1, 0, second * S);
    for (uint64_t second = 110; second < 120; second++)
        assert_holds(words, (uint32_t)(119 - second), 0, second * S);
}

TEST(ticks_of_24_bits_come_round)
{
    uint64_t words[WINDOW_BUCKETS] = {0};
    uint64_t round = UINT64_C(1) << 24;
    add(words, 2, 1, (round - 1) * S);
    add(words, 3, 1, round * S);
    assert_holds(words, 5, 2, round * S);
    assert_holds(words, 5, 2, (round + 8) * S);
    assert_holds(words, 3, 1, (round + 9) * S);
}

TEST(events_of_one_round_ago_are_not_taken_for_new)
{
    uint64_t words[WINDOW_BUCKETS] = {0};
    uint64_t round = UINT64_C(1) << 24;
    add(words, 2, 1, 1000 * S);
    for (uint64_t second = 995; second < 1015; second++)
        assert_holds(words, 0, 0, (round + second) * S);
}

TEST(time_before_the_first_window_is_not_asked_for)
{
    uint64_t words[WINDOW_BUCKETS] = {0};
    add(words, 2, 1, 0);
    add(words, 1, 1, 3 * S);
    assert_holds(words, 3, 2, 3 * S);
}

TEST(events_of_a_later_clock_do_not_count_yet)
{
    uint64_t words[WINDOW_BUCKETS] = {0};
    add(words, 2, 1, 105 * S);
    assert_holds(words, 0, 0, 104 * S);
}

TEST(counts_saturate)
{
    uint64_t words[WINDOW_BUCKETS] = {0};
    add(words, FULL - 1, 1, 100 * S);
    add(words, 1, 0, 100 * S);
    assert_holds(words, FULL, 1, 100 * S);
    add(words, 5, 0, 100 * S);
    assert_holds(words, FULL, 1, 100 * S);
    add(words, UINT32_MAX, UINT32_MAX, 100 * S);
    assert_holds(words, FULL, FULL, 100 * S);
}

TEST(full_buckets_add_up)
{
    uint64_t words[WINDOW_BUCKETS] = {0};
    for (uint64_t second = 100; second < 110; second++)
        add(words, FULL, FULL, second * S);
    assert_holds(words, 10 * FULL, 10 * FULL, 109 * S);
}

TEST(any_word_is_a_good_word)
{
    uint64_t words[WINDOW_BUCKETS];
    for (unsigned i = 0; i < WINDOW_BUCKETS; i++)
        words[i] = UINT64_MAX;
    assert_holds(words, 0, 0, 100 * S);
    add(words, 1, 0, 100 * S);
    assert_holds(words, 1, 0, 100 * S);
}

TEST(tiny_windows_do_not_divide_by_zero)
{
    uint64_t words[WINDOW_BUCKETS] = {0};
    ck_assert_uint_lt(window_bucket(window_tick(0, 12345)), WINDOW_BUCKETS);
    words[window_bucket(window_tick(9, 12345))] =
        window_add(0, window_tick(9, 12345), (struct window_sum){.events = 1});
    ck_assert_uint_eq(window_total(words, 9, 12345).events, 1);
}

SUITE("window", empty_window_holds_nothing, events_of_one_tick_add_up, ticks_add_up_across_buckets,
      events_leave_after_the_window, bucket_of_an_old_tick_is_begun_anew, window_slides_tick_by_tick,
      ticks_of_24_bits_come_round, events_of_one_round_ago_are_not_taken_for_new,
      time_before_the_first_window_is_not_asked_for, events_of_a_later_clock_do_not_count_yet,
      counts_saturate, full_buckets_add_up, any_word_is_a_good_word, tiny_windows_do_not_divide_by_zero)
