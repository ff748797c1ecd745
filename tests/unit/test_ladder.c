#include "policy/ladder.h"

#include <errno.h>

#include "suite.h"

#define S UINT64_C(1000000000)

static const struct ladder_shape mixed = {
    .count = 5,
    .rungs = {{RUNG_STALE, 1}, {RUNG_HOST, 2}, {RUNG_ADDRESSES, 1}, {RUNG_RESPOND, 1}, {RUNG_HOST, 1}},
};

TEST(rungs_are_tried_in_their_order_and_hosts_one_by_one)
{
    static const struct {
        enum rung_kind kind;
        uint32_t rung, choice;
    } expected[] = {{RUNG_HOST, 1, 0}, {RUNG_HOST, 1, 1}, {RUNG_RESPOND, 3, 0}, {RUNG_HOST, 4, 0}};
    struct ladder_place place = {.is_begun = false};
    for (unsigned i = 0; i < sizeof expected / sizeof *expected; i++) {
        ck_assert_int_eq(ladder_descend(&mixed, LADDER_CONNECT, &place), expected[i].kind);
        ck_assert_uint_eq(place.rung, expected[i].rung);
        ck_assert_uint_eq(place.choice, expected[i].choice);
    }
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ladder_descend(&mixed, LADDER_CONNECT, &place), RUNG_ERROR);
}

TEST(lookups_have_rungs_of_their_own)
{
    static const struct ladder_shape last = {.count = 3,
                                             .rungs = {{RUNG_ADDRESSES, 1}, {RUNG_HOST, 1}, {RUNG_STALE, 1}}};
    static const enum rung_kind expected[] = {RUNG_STALE, RUNG_HOST,  RUNG_HOST, RUNG_ADDRESSES,
                                              RUNG_HOST,  RUNG_ERROR, RUNG_ERROR};
    static const enum rung_kind expected_last[] = {RUNG_STALE, RUNG_ADDRESSES, RUNG_HOST, RUNG_ERROR};
    struct ladder_place place = {.is_begun = false}, place_last = {.is_begun = false};
    for (unsigned i = 0; i < sizeof expected / sizeof *expected; i++)
        ck_assert_int_eq(ladder_descend(&mixed, LADDER_LOOKUP, &place), expected[i]);
    for (unsigned i = 0; i < sizeof expected_last / sizeof *expected_last; i++)
        ck_assert_int_eq(ladder_descend(&last, LADDER_LOOKUP, &place_last), expected_last[i]);
}

TEST(a_good_answer_comes_before_another_host)
{
    static const struct ladder_shape hosts = {.count = 1, .rungs = {{RUNG_HOST, 2}}};
    struct ladder_place place = {.is_begun = false};
    ck_assert_int_eq(ladder_descend(&hosts, LADDER_LOOKUP, &place), RUNG_HOST);
    ck_assert_uint_eq(place.choice, 0);
    ck_assert_int_eq(ladder_descend(&hosts, LADDER_LOOKUP, &place), RUNG_HOST);
    ck_assert_uint_eq(place.choice, 1);
    ck_assert_int_eq(ladder_descend(&hosts, LADDER_LOOKUP, &place), RUNG_ERROR);
}

TEST(a_ladder_serves_what_it_has_a_rung_for)
{
    static const struct ladder_shape names = {.count = 1, .rungs = {{RUNG_STALE, 1}}};
    static const struct ladder_shape nothing = {.count = 0};
    ck_assert(ladder_serves(&mixed, LADDER_CONNECT) && ladder_serves(&mixed, LADDER_LOOKUP));
    ck_assert(!ladder_serves(&names, LADDER_CONNECT) && ladder_serves(&names, LADDER_LOOKUP));
    ck_assert(!ladder_serves(&nothing, LADDER_CONNECT) && !ladder_serves(&nothing, LADDER_LOOKUP));
}

TEST(a_damaged_shape_comes_to_its_end)
{
    struct ladder_shape damaged = {.count = UINT32_MAX};
    for (unsigned i = 0; i < LADDER_RUNGS_MAX; i++) {
        damaged.rungs[i].kind = RUNG_HOST;
        damaged.rungs[i].choices = UINT32_MAX;
    }
    struct ladder_place place = {.is_begun = false};
    unsigned steps = 0;
    while (ladder_descend(&damaged, LADDER_CONNECT, &place) != RUNG_ERROR)
        ck_assert_uint_le(++steps, LADDER_RUNGS_MAX * LADDER_CHOICES_MAX);
    ck_assert_uint_eq(steps, LADDER_RUNGS_MAX * LADDER_CHOICES_MAX);
}

TEST(only_failures_of_the_host_and_the_way_to_it_are_degraded)
{
    static const int theirs[] = {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ECONNRESET};
    static const int ours[] = {0,      EINTR, EINPROGRESS,   EALREADY, EMFILE,
                               EACCES, EPERM, EADDRNOTAVAIL, EINVAL,   EBADF};
    for (unsigned i = 0; i < sizeof theirs / sizeof *theirs; i++)
        ck_assert_msg(ladder_is_for(theirs[i]), "errno %d", theirs[i]);
    for (unsigned i = 0; i < sizeof ours / sizeof *ours; i++)
        ck_assert_msg(!ladder_is_for(ours[i]), "errno %d", ours[i]);
}

static const struct stale_params params = {.max_age_ns = 100 * S, .after_ns = 2 * S, .ask_every_ns = 30 * S};

static enum stale_verdict decide(bool has_answer, uint64_t answered_s, uint64_t failed_s, uint64_t now_s)
{
    struct stale_state state = {
        .has_answer = has_answer, .answered_ns = answered_s * S, .failed_ns = failed_s * S};
    return stale_decide(&params, &state, now_s * S);
}

TEST(without_a_good_answer_there_is_nothing_to_do_but_ask)
{
    ck_assert_int_eq(decide(false, 0, 0, 1000), STALE_ASK);
    ck_assert_int_eq(decide(false, 0, 999, 1000), STALE_ASK);
}

TEST(an_answer_is_good_up_to_its_age_and_not_a_nanosecond_longer)
{
    struct stale_state state = {.has_answer = true, .answered_ns = 1000 * S};
    ck_assert_int_eq(stale_decide(&params, &state, 1100 * S), STALE_ASK_LATE);
    ck_assert_int_eq(stale_decide(&params, &state, 1100 * S + 1), STALE_ASK);
}

TEST(after_a_failure_it_is_served_at_once_for_a_while)
{
    ck_assert_int_eq(decide(true, 1000, 1010, 1010), STALE_SERVE);
    ck_assert_int_eq(decide(true, 1000, 1010, 1039), STALE_SERVE);
    ck_assert_int_eq(decide(true, 1000, 1010, 1040), STALE_ASK_LATE);
}

TEST(an_answer_that_came_after_the_failure_ends_that)
{
    ck_assert_int_eq(decide(true, 1011, 1010, 1012), STALE_ASK_LATE);
    ck_assert_int_eq(decide(true, 1000, 2000, 1012), STALE_ASK_LATE); /* a failure of the future is damage */
}

TEST(a_name_is_looked_up_beforehand_unless_that_was_done_lately)
{
    static const struct {
        struct stale_state state;
        bool is_due;
    } cases[] = {
        {{false, 0, 0}, true},
        {{true, 971 * S, 0}, false},
        {{true, 970 * S, 0}, true},
        {{true, 100 * S, 971 * S}, false},
        {{false, 0, 970 * S}, true},
        {{true, 2000 * S, 0}, true}, /* of the future */
        {{true, 100 * S, 2000 * S}, true},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_int_eq(stale_is_due(&cases[i].state, 1000 * S), cases[i].is_due);
}

TEST(each_kind_has_a_name)
{
    for (unsigned kind = 0; kind < RUNG_KINDS; kind++)
        ck_assert_str_ne(rung_name((enum rung_kind)kind), "unknown");
    ck_assert_str_eq(rung_name(RUNG_KINDS), "unknown");
}

SUITE("ladder", rungs_are_tried_in_their_order_and_hosts_one_by_one, lookups_have_rungs_of_their_own,
      a_good_answer_comes_before_another_host, a_ladder_serves_what_it_has_a_rung_for,
      a_damaged_shape_comes_to_its_end, only_failures_of_the_host_and_the_way_to_it_are_degraded,
      without_a_good_answer_there_is_nothing_to_do_but_ask,
      an_answer_is_good_up_to_its_age_and_not_a_nanosecond_longer,
      after_a_failure_it_is_served_at_once_for_a_while, an_answer_that_came_after_the_failure_ends_that,
      a_name_is_looked_up_beforehand_unless_that_was_done_lately, each_kind_has_a_name)
