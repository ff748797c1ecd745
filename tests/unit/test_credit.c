#include "policy/credit.h"

#include "suite.h"

#define S   UINT64_C(1000000000)
#define NOW (100 * S)
#define KEY UINT64_C(0x123456789abcdef0)

TEST(a_call_that_failed_after_retries_earns_one_for_each_other_address)
{
    struct call call = {.action = CALL_DONE, .ending = CALL_FAILED, .attempts = 2};
    ck_assert_uint_eq(credit_earned(&call, 0), 1);
    ck_assert_uint_eq(credit_earned(&call, 1), 1);
    ck_assert_uint_eq(credit_earned(&call, 2), 1);
    ck_assert_uint_eq(credit_earned(&call, 4), 3);
    ck_assert_uint_eq(credit_earned(&call, UINT32_MAX), 255);
}

TEST(other_calls_earn_nothing)
{
    struct call call = {.action = CALL_DONE, .ending = CALL_FAILED, .attempts = 1};
    ck_assert_uint_eq(credit_earned(&call, 4), 0);
    call.attempts = 2;
    call.ending = CALL_SUCCEEDED;
    ck_assert_uint_eq(credit_earned(&call, 4), 0);
    call.ending = CALL_REJECTED;
    ck_assert_uint_eq(credit_earned(&call, 4), 0);
    call.ending = CALL_FAILED;
    call.action = CALL_WAIT;
    ck_assert_uint_eq(credit_earned(&call, 4), 0);
}

TEST(each_is_used_once)
{
    uint64_t word = credit_left(KEY, 2, 8 * S, NOW);
    for (int i = 0; i < 2; i++) {
        struct credit_answer answer = credit_use(word, KEY, NOW + S);
        ck_assert(answer.is_used);
        word = answer.word;
    }
    struct credit_answer answer = credit_use(word, KEY, NOW + S);
    ck_assert(!answer.is_used);
    ck_assert_uint_eq(answer.word, word);
}

TEST(they_last_as_long_as_the_call_could)
{
    uint64_t word = credit_left(KEY, 2, 8 * S, NOW);
    ck_assert(credit_use(word, KEY, NOW + 8 * S - 1).is_used);
    ck_assert(!credit_use(word, KEY, NOW + 8 * S + S / 16).is_used);
    word = credit_left(KEY, 2, 0, NOW);
    ck_assert(credit_use(word, KEY, NOW + 59 * S).is_used);
    ck_assert(!credit_use(word, KEY, NOW + 61 * S).is_used);
}

TEST(they_are_for_one_target)
{
    uint64_t word = credit_left(KEY, 2, 8 * S, NOW);
    ck_assert(!credit_use(word, ~KEY, NOW).is_used);
    ck_assert(!credit_use(0, KEY, NOW).is_used);
    ck_assert(!credit_use(0, 0, 0).is_used);
}

TEST(times_come_round)
{
    uint64_t round = (UINT64_C(1) << 32) * (S / 64);
    uint64_t word = credit_left(KEY, 1, 8 * S, round - 4 * S);
    ck_assert(credit_use(word, KEY, round + 3 * S).is_used);
    ck_assert(!credit_use(word, KEY, round + 5 * S).is_used);
    ck_assert(!credit_use(credit_left(KEY, 1, UINT64_MAX, NOW), KEY, NOW + 3602 * S).is_used);
}

SUITE("credit", a_call_that_failed_after_retries_earns_one_for_each_other_address, other_calls_earn_nothing,
      each_is_used_once, they_last_as_long_as_the_call_could, they_are_for_one_target, times_come_round)
