#include "policy/limit.h"

#include "suite.h"

#define MS  UINT64_C(1000000)
#define S   (1000 * MS)
#define NOW (100 * S)

static const struct limit_params two = {.connections = 2};
static const struct limit_params ten_per_s = {.rate_per_s = 10};

static enum limit_verdict enter(uint64_t *word, const struct limit_params *params)
{
    struct limit_answer answer = limit_enter(*word, params, NOW, NOW);
    *word = answer.word;
    return answer.verdict;
}

static unsigned taken_at(uint64_t *word, const struct limit_params *params, uint64_t now_ns, unsigned tries)
{
    unsigned admitted = 0;
    for (unsigned i = 0; i < tries; i++) {
        struct limit_answer answer = limit_take(*word, params, now_ns, now_ns);
        admitted += answer.verdict == LIMIT_ADMIT;
        *word = answer.word;
    }
    return admitted;
}

TEST(no_more_enter_than_there_are_places)
{
    uint64_t word = 0;
    ck_assert_int_eq(enter(&word, &two), LIMIT_ADMIT);
    ck_assert_int_eq(enter(&word, &two), LIMIT_ADMIT);
    uint64_t full = word;
    ck_assert_int_eq(enter(&word, &two), LIMIT_REJECT);
    ck_assert_uint_eq(word, full);
}

TEST(connections_keep_their_places_until_they_end)
{
    uint64_t word = 0;
    enter(&word, &two);
    enter(&word, &two);
    word = limit_connected(limit_connected(word));
    ck_assert_uint_eq(limit_view(word).live, 2);
    ck_assert_uint_eq(limit_view(word).pending, 0);
    ck_assert_int_eq(enter(&word, &two), LIMIT_REJECT);
    word = limit_ended(word);
    ck_assert_int_eq(enter(&word, &two), LIMIT_ADMIT);
}

TEST(a_call_without_a_connection_gives_its_place_back)
{
    uint64_t word = 0;
    enter(&word, &two);
    enter(&word, &two);
    word = limit_left(word);
    ck_assert_int_eq(enter(&word, &two), LIMIT_ADMIT);
}

TEST(ends_that_nobody_began_are_nothing)
{
    uint64_t word = limit_left(limit_ended(0));
    ck_assert_uint_eq(limit_view(word).live, 0);
    ck_assert_uint_eq(limit_view(word).pending, 0);
}

TEST(a_call_that_may_wait_looks_again_until_its_time)
{
    struct limit_params waiting = {.connections = 1, .wait_ns = 25 * MS};
    uint64_t word = limit_enter(0, &waiting, NOW, NOW).word;
    struct limit_answer answer = limit_enter(word, &waiting, NOW, NOW);
    ck_assert_int_eq(answer.verdict, LIMIT_WAIT);
    ck_assert_uint_eq(answer.until_ns, NOW + 10 * MS);
    answer = limit_enter(word, &waiting, NOW, NOW + 20 * MS);
    ck_assert_uint_eq(answer.until_ns, NOW + 25 * MS);
    ck_assert_int_eq(limit_enter(word, &waiting, NOW, NOW + 25 * MS).verdict, LIMIT_REJECT);
    ck_assert_int_eq(limit_enter(limit_left(word), &waiting, NOW, NOW + 25 * MS).verdict, LIMIT_ADMIT);
}

TEST(a_count_is_corrected_and_calls_under_way_are_kept)
{
    uint64_t word = limit_connected(limit_enter(0, &two, NOW, NOW).word);
    word = limit_enter(word, &two, NOW, NOW).word;
    uint64_t corrected = limit_corrected(word, 0, false);
    ck_assert_uint_eq(limit_view(corrected).live, 0);
    ck_assert_uint_eq(limit_view(corrected).pending, 1);
    ck_assert_uint_eq(limit_view(limit_corrected(word, 0, true)).pending, 0);
    ck_assert_uint_eq(limit_view(limit_corrected(word, 7, true)).live, 7);
}

TEST(coming_and_going_is_noticed)
{
    uint64_t word = limit_connected(limit_enter(0, &two, NOW, NOW).word);
    uint64_t later = limit_connected(limit_enter(limit_ended(word), &two, NOW, NOW).word);
    ck_assert_uint_eq(limit_view(word).live, limit_view(later).live);
    ck_assert_uint_ne(word, later);
}

TEST(a_limit_of_zero_is_none)
{
    struct limit_params none = {0};
    uint64_t word = 0;
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(enter(&word, &none), LIMIT_ADMIT);
    ck_assert_uint_eq(taken_at(&word, &none, NOW, 1000), 1000);
}

TEST(counts_do_not_overflow_into_each_other)
{
    struct limit_params none = {0};
    ck_assert_int_eq(limit_enter(UINT64_C(0xffff) << 24, &none, NOW, NOW).verdict, LIMIT_REJECT);
    uint64_t word = limit_connected(0xffffff);
    ck_assert_uint_eq(limit_view(word).live, 0xffffff);
    ck_assert_uint_eq(limit_view(word).pending, 0);
    ck_assert_uint_eq(limit_view(limit_corrected(0, UINT32_MAX, false)).pending, 0);
}

TEST(the_bucket_holds_one_second_and_refills)
{
    uint64_t word = 0;
    ck_assert_uint_eq(taken_at(&word, &ten_per_s, NOW, 50), 10);
    ck_assert_uint_eq(taken_at(&word, &ten_per_s, NOW + 99 * MS, 50), 0);
    ck_assert_uint_eq(taken_at(&word, &ten_per_s, NOW + 100 * MS, 50), 1);
    ck_assert_uint_eq(taken_at(&word, &ten_per_s, NOW + 400 * MS, 50), 3);
    ck_assert_uint_eq(taken_at(&word, &ten_per_s, NOW + 1000 * S, 50), 10);
}

TEST(a_rejected_call_learns_when_a_token_comes)
{
    uint64_t word = 0;
    taken_at(&word, &ten_per_s, NOW, 10);
    struct limit_answer answer = limit_take(word, &ten_per_s, NOW, NOW + 30 * MS);
    ck_assert_int_eq(answer.verdict, LIMIT_REJECT);
    ck_assert_uint_eq(answer.until_ns, NOW + 100 * MS);
    ck_assert_uint_eq(answer.word, word);
}

TEST(waiting_calls_go_one_after_the_other)
{
    struct limit_params waiting = {.rate_per_s = 10, .wait_ns = 250 * MS};
    uint64_t word = 0;
    ck_assert_uint_eq(taken_at(&word, &waiting, NOW, 10), 10);
    for (unsigned i = 1; i <= 2; i++) {
        struct limit_answer answer = limit_take(word, &waiting, NOW, NOW);
        ck_assert_int_eq(answer.verdict, LIMIT_WAIT);
        ck_assert_uint_eq(answer.until_ns, NOW + i * 100 * MS);
        word = answer.word;
    }
    ck_assert_int_eq(limit_take(word, &waiting, NOW, NOW).verdict, LIMIT_REJECT);
}

TEST(rates_are_not_exceeded_by_rounding)
{
    struct limit_params three = {.rate_per_s = 3};
    uint64_t word = 0;
    unsigned admitted = 0;
    for (unsigned i = 0; i <= 10000; i++)
        admitted += taken_at(&word, &three, NOW + i * MS, 9);
    ck_assert_uint_eq(admitted, 3 + 29);
}

TEST(a_word_of_far_off_does_not_reject_for_ever)
{
    ck_assert_uint_le(limit_take(UINT64_MAX, &ten_per_s, NOW, NOW).until_ns, NOW + 100 * MS);
    struct limit_params greatest = {
        .rate_per_s = UINT32_MAX, .connections = UINT32_MAX, .wait_ns = UINT64_MAX};
    ck_assert_int_eq(limit_take(0, &greatest, NOW, NOW).verdict, LIMIT_ADMIT);
    ck_assert_int_eq(limit_enter(0, &greatest, NOW, NOW).verdict, LIMIT_ADMIT);
}

SUITE("limit", no_more_enter_than_there_are_places, connections_keep_their_places_until_they_end,
      a_call_without_a_connection_gives_its_place_back, ends_that_nobody_began_are_nothing,
      a_call_that_may_wait_looks_again_until_its_time, a_count_is_corrected_and_calls_under_way_are_kept,
      coming_and_going_is_noticed, a_limit_of_zero_is_none, counts_do_not_overflow_into_each_other,
      the_bucket_holds_one_second_and_refills, a_rejected_call_learns_when_a_token_comes,
      waiting_calls_go_one_after_the_other, rates_are_not_exceeded_by_rounding,
      a_word_of_far_off_does_not_reject_for_ever)
