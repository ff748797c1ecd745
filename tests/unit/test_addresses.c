#include "policy/addresses.h"

#include "suite.h"

#define S       UINT64_C(1000000000)
#define NOW     (100 * S)
#define ATTEMPT (3 * S)

/* Of a name with three addresses; calls begin and fail at once. */
static struct addresses_tried tried(uint16_t which, uint64_t begun_ns)
{
    return (struct addresses_tried){
        .identity = 7, .all = 7, .tried = which, .begun_ns = begun_ns, .attempt_ns = ATTEMPT};
}

static enum breaker_report fails(uint64_t *word, struct addresses_tried tried)
{
    struct addresses_answer answer = addresses_failed(*word, &tried, tried.begun_ns);
    *word = answer.word;
    return answer.report;
}

TEST(the_only_address_is_the_name)
{
    uint64_t word = 0;
    struct addresses_tried only = tried(1, NOW);
    only.all = 1;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(fails(&word, only), BREAKER_FAILURE);
}

TEST(a_call_that_tried_them_all_is_the_names_failure)
{
    uint64_t word = 0;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(fails(&word, tried(7, NOW)), BREAKER_FAILURE);
    ck_assert_uint_eq(word, 0);
}

TEST(one_address_failing_is_its_own_affair)
{
    uint64_t word = 0;
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(fails(&word, tried(2, NOW)), BREAKER_NEUTRAL);
}

TEST(the_last_of_them_is_the_names_failure_in_any_order)
{
    static const uint16_t orders[][3] = {{1, 2, 4}, {4, 1, 2}, {2, 4, 1}};
    for (int i = 0; i < 3; i++) {
        uint64_t word = 0;
        ck_assert_int_eq(fails(&word, tried(orders[i][0], NOW)), BREAKER_NEUTRAL);
        ck_assert_int_eq(fails(&word, tried(orders[i][1], NOW)), BREAKER_NEUTRAL);
        ck_assert_int_eq(fails(&word, tried(orders[i][2], NOW)), BREAKER_FAILURE);
    }
}

TEST(a_walk_through_the_list_counts_once)
{
    uint64_t word = 0;
    unsigned failures = 0;
    for (int walk = 0; walk < 5; walk++)
        for (uint16_t address = 1; address <= 4; address <<= 1)
            failures += fails(&word, tried(address, NOW)) == BREAKER_FAILURE;
    ck_assert_uint_eq(failures, 5);
}

TEST(single_attempts_after_a_call_that_tried_all_do_not_count_again)
{
    uint64_t word = 0;
    ck_assert_int_eq(fails(&word, tried(7, NOW)), BREAKER_FAILURE);
    ck_assert_int_eq(fails(&word, tried(2, NOW)), BREAKER_NEUTRAL);
    ck_assert_int_eq(fails(&word, tried(4, NOW)), BREAKER_NEUTRAL);
}

TEST(a_success_begins_anew)
{
    uint64_t word = 0;
    fails(&word, tried(3, NOW));
    word = 0; /* what a success leaves behind */
    ck_assert_int_eq(fails(&word, tried(4, NOW)), BREAKER_NEUTRAL);
}

TEST(another_answer_begins_anew)
{
    uint64_t word = 0;
    fails(&word, tried(3, NOW));
    struct addresses_tried other = tried(4, NOW);
    other.identity = 8;
    ck_assert_int_eq(fails(&word, other), BREAKER_NEUTRAL);
    ck_assert_int_eq(fails(&word, tried(4, NOW)), BREAKER_NEUTRAL);
}

/* The AAAA record of a host without IPv6. */
TEST(an_address_without_a_route_is_no_hope_and_no_fault)
{
    struct addresses_tried ours = tried(6, NOW);
    ours.is_ours = true;
    uint64_t word = 0;
    ck_assert_int_eq(fails(&word, ours), BREAKER_NEUTRAL);
    ck_assert_int_eq(fails(&word, tried(1, NOW)), BREAKER_FAILURE);
    ck_assert_int_eq(fails(&word, tried(1, NOW)), BREAKER_NEUTRAL);
    ck_assert_int_eq(fails(&word, ours), BREAKER_FAILURE);
}

TEST(a_host_without_a_network_never_blames_the_name)
{
    struct addresses_tried ours = tried(7, NOW);
    ours.is_ours = true;
    uint64_t word = 0;
    for (int i = 0; i < 10; i++) {
        ours.begun_ns += 10 * ATTEMPT;
        ck_assert_int_eq(fails(&word, ours), BREAKER_NEUTRAL);
    }
}

TEST(where_nobody_goes_on_what_is_tried_is_the_name)
{
    uint64_t word = 0;
    ck_assert_int_eq(fails(&word, tried(1, NOW)), BREAKER_NEUTRAL);
    ck_assert_int_eq(fails(&word, tried(1, NOW + ATTEMPT)), BREAKER_NEUTRAL);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(fails(&word, tried(1, NOW + ATTEMPT + S)), BREAKER_FAILURE);
    word = 0;
    ck_assert_int_eq(fails(&word, tried(1, NOW + 2 * ATTEMPT)), BREAKER_NEUTRAL);
}

TEST(a_call_from_before_the_first_mark_is_not_late)
{
    uint64_t word = 0;
    fails(&word, tried(1, NOW));
    ck_assert_int_eq(fails(&word, tried(1, NOW - 50 * S)), BREAKER_NEUTRAL);
}

TEST(a_probe_that_fails_where_one_failed_before_is_the_names_failure)
{
    struct addresses_tried probe = tried(1, NOW);
    probe.is_probe = true;
    uint64_t word = 0;
    ck_assert_int_eq(fails(&word, probe), BREAKER_NEUTRAL);
    probe.tried = 2;
    ck_assert_int_eq(fails(&word, probe), BREAKER_NEUTRAL);
    probe.tried = 1;
    ck_assert_int_eq(fails(&word, probe), BREAKER_FAILURE);
}

TEST(time_comes_round)
{
    uint64_t round_ns = (UINT64_C(1) << 31) * 15625000;
    uint64_t word = 0;
    fails(&word, tried(1, round_ns - S));
    ck_assert_int_eq(fails(&word, tried(1, round_ns + S)), BREAKER_NEUTRAL);
    ck_assert_int_eq(fails(&word, tried(1, round_ns + 2 * ATTEMPT)), BREAKER_FAILURE);
    word = 0;
    ck_assert_int_eq(fails(&word, tried(1, round_ns + S)), BREAKER_NEUTRAL);
    ck_assert_int_eq(fails(&word, tried(1, round_ns + 3 * ATTEMPT)), BREAKER_FAILURE);
}

TEST(any_word_is_a_good_word)
{
    struct random random = {1};
    for (int i = 0; i < 100000; i++) {
        uint64_t word = random_next(&random);
        bool is_down = false;
        for (uint16_t address = 1; address <= 4; address <<= 1)
            is_down |= fails(&word, tried(address, NOW)) == BREAKER_FAILURE;
        ck_assert(is_down);
    }
}

SUITE("addresses", the_only_address_is_the_name, a_call_that_tried_them_all_is_the_names_failure,
      one_address_failing_is_its_own_affair, the_last_of_them_is_the_names_failure_in_any_order,
      a_walk_through_the_list_counts_once, single_attempts_after_a_call_that_tried_all_do_not_count_again,
      a_success_begins_anew, another_answer_begins_anew, an_address_without_a_route_is_no_hope_and_no_fault,
      a_host_without_a_network_never_blames_the_name, where_nobody_goes_on_what_is_tried_is_the_name,
      a_call_from_before_the_first_mark_is_not_late,
      a_probe_that_fails_where_one_failed_before_is_the_names_failure, time_comes_round,
      any_word_is_a_good_word)
