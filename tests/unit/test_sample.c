#include "policy/sample.h"

#include <stdlib.h>

#include "suite.h"

#define S   UINT64_C(1000000000)
#define NOW (100 * S)

static uint32_t take(uint64_t *word, uint64_t now_ns)
{
    struct sample_answer answer = sample_take(*word, 10, now_ns);
    *word = answer.word;
    return answer.count;
}

TEST(the_first_few_are_told_one_by_one)
{
    uint64_t word = 0;
    for (int i = 0; i < 10; i++)
        ck_assert_uint_eq(take(&word, NOW), 1);
    ck_assert_uint_eq(take(&word, NOW), 0);
}

TEST(the_next_one_stands_for_those_left_out)
{
    uint64_t word = 0;
    uint32_t told = 0;
    for (int i = 0; i < 5000; i++)
        told += take(&word, NOW);
    ck_assert_uint_eq(told, 10);
    ck_assert_uint_eq(take(&word, NOW + S), 4991);
    ck_assert_uint_eq(take(&word, NOW + S), 1);
}

TEST(a_clock_that_was_read_earlier_begins_no_second)
{
    uint64_t word = 0;
    for (int i = 0; i < 10; i++)
        take(&word, NOW);
    ck_assert_uint_eq(take(&word, NOW - S), 0);
    ck_assert_uint_eq(take(&word, NOW + S), 2);
}

TEST(a_damaged_word_is_silent_for_a_minute_at_most)
{
    uint64_t word = UINT64_MAX;
    ck_assert_uint_eq(take(&word, NOW), 1u << 24);
    word = UINT64_C(160) << 32 | UINT64_C(0xff) << 24;
    ck_assert_uint_eq(take(&word, NOW), 0);
    ck_assert_uint_ne(take(&word, NOW + 61 * S), 0);
}

TEST(none_may_be_told)
{
    ck_assert_uint_eq(sample_take(0, 0, NOW).count, 0);
}

TEST(counts_saturate)
{
    uint64_t word = UINT64_C(100) << 32 | 10 << 24 | 0xffffff;
    ck_assert_uint_eq(sample_take(word, 10, NOW).word, word);
}

TEST(what_is_left_out_for_less_is_what_is_left_out)
{
    srandom(1);
    unsigned agreed = 0;
    for (int i = 0; i < 100000; i++) {
        uint32_t left_out = random() % 3 ? (uint32_t)random() % 100 : 0xffffff - (uint32_t)random() % 3;
        uint64_t word = (uint64_t)(99 + random() % 3) << 32 | (uint64_t)(random() % 14) << 24 | left_out;
        struct sample_answer answer = sample_take(word, 10, NOW);
        if (!sample_leaves_out(word, 10, NOW))
            continue;
        ck_assert_uint_eq(answer.count, 0);
        ck_assert_uint_eq(answer.word, word + 1);
        agreed++;
    }
    ck_assert_uint_gt(agreed, 1000);
}

TEST(a_count_that_could_overflow_is_not_left_out_for_less)
{
    ck_assert(sample_leaves_out(UINT64_C(100) << 32 | 10 << 24 | 0x7ffffe, 10, NOW));
    ck_assert(!sample_leaves_out(UINT64_C(100) << 32 | 10 << 24 | 0xffffff, 10, NOW));
}

SUITE("sample", the_first_few_are_told_one_by_one, the_next_one_stands_for_those_left_out,
      a_clock_that_was_read_earlier_begins_no_second, a_damaged_word_is_silent_for_a_minute_at_most,
      none_may_be_told, counts_saturate, what_is_left_out_for_less_is_what_is_left_out,
      a_count_that_could_overflow_is_not_left_out_for_less)
