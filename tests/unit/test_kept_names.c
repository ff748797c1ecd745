#include "state/kept_names.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "state/segment.h"
#include "suite.h"

static struct segment segment;

static struct address v4(unsigned last)
{
    return (struct address){{[10] = 0xff, 0xff, 10, 0, 0, (uint8_t)last}};
}

static struct address v6(unsigned last)
{
    return (struct address){{0xfd, [15] = (uint8_t)last}};
}

static bool is_first(const struct address *found, struct address address)
{
    return address_equal(&found[0], &address);
}

static void keep(const char *name, enum kept_family family, struct address first, struct address second)
{
    const struct address addresses[] = {first, second};
    kept_names_answered(name, family, addresses, 2);
}

static unsigned find(const char *name, enum kept_family family, struct address *addresses)
{
    struct stale_state state;
    unsigned count = kept_names_find(name, family, &state, addresses);
    ck_assert(state.has_answer == (count != 0));
    return count;
}

TEST(without_a_segment_nothing_is_kept)
{
    struct address found[KEPT_ADDRESSES_MAX];
    keep("a.test", KEPT_ANY, v4(1), v4(2));
    kept_names_failed("a.test", true);
    ck_assert_uint_eq(find("a.test", KEPT_ANY, found), 0);
}

TEST(the_last_answer_is_found)
{
    struct address found[KEPT_ADDRESSES_MAX];
    segment_current = &segment;
    keep("a.test", KEPT_ANY, v4(1), v6(2));
    keep("a.test", KEPT_ANY, v4(3), v6(4));
    ck_assert_uint_eq(find("a.test", KEPT_ANY, found), 2);
    ck_assert(is_first(found, v4(3)));
    ck_assert_uint_eq(find("b.test", KEPT_ANY, found), 0);
}

TEST(a_question_about_one_family_is_answered_by_a_wider_one_and_not_the_other_way_round)
{
    struct address found[KEPT_ADDRESSES_MAX];
    segment_current = &segment;
    keep("both.test", KEPT_ANY, v4(1), v6(2));
    ck_assert_uint_eq(find("both.test", KEPT_V4, found), 1);
    ck_assert_uint_eq(find("both.test", KEPT_V6, found), 1);
    ck_assert(!address_is_v4(&found[0]));
    keep("four.test", KEPT_V4, v4(1), v4(2));
    ck_assert_uint_eq(find("four.test", KEPT_V6, found), 0);
    ck_assert_uint_eq(find("four.test", KEPT_ANY, found), 2);
}

TEST(a_failure_is_remembered_until_the_next_answer)
{
    struct address found[KEPT_ADDRESSES_MAX];
    struct stale_state state;
    segment_current = &segment;
    keep("a.test", KEPT_ANY, v4(1), v4(2));
    kept_names_failed("a.test", false);
    kept_names_find("a.test", KEPT_ANY, &state, found);
    ck_assert_uint_ge(state.failed_ns, state.answered_ns);
    keep("a.test", KEPT_ANY, v4(1), v4(2));
    kept_names_find("a.test", KEPT_ANY, &state, found);
    ck_assert_uint_eq(state.failed_ns, 0);
    kept_names_failed("new.test", false);
    kept_names_find("new.test", KEPT_ANY, &state, found);
    ck_assert_uint_eq(state.failed_ns, 0);
    kept_names_failed("new.test", true);
    kept_names_find("new.test", KEPT_ANY, &state, found);
    ck_assert_uint_ne(state.failed_ns, 0);
    ck_assert(!state.has_answer);
}

TEST(a_full_table_gives_the_oldest_place_and_never_another_names_answer)
{
    struct address found[KEPT_ADDRESSES_MAX];
    char name[32];
    segment_current = &segment;
    for (unsigned i = 0; i < 4 * KEPT_NAMES_MAX; i++) {
        snprintf(name, sizeof name, "host-%u.test", i);
        keep(name, KEPT_ANY, v4(i & 0xff), v4(i >> 8));
        ck_assert_uint_eq(find(name, KEPT_ANY, found), 2);
    }
    unsigned known = 0;
    for (unsigned i = 0; i < 4 * KEPT_NAMES_MAX; i++) {
        snprintf(name, sizeof name, "host-%u.test", i);
        if (!find(name, KEPT_ANY, found))
            continue;
        known++;
        ck_assert(is_first(found, v4(i & 0xff)));
    }
    ck_assert_uint_gt(known, KEPT_NAMES_MAX / 2);
}

TEST(long_names_and_long_answers_are_cut_nowhere)
{
    struct address many[20], found[KEPT_ADDRESSES_MAX];
    char name[KEPT_NAME_BYTES + 1];
    segment_current = &segment;
    for (unsigned i = 0; i < 20; i++)
        many[i] = v4(i);
    kept_names_answered("many.test", KEPT_ANY, many, 20);
    ck_assert_uint_eq(find("many.test", KEPT_ANY, found), KEPT_ADDRESSES_MAX);
    memset(name, 'a', sizeof name);
    name[KEPT_NAME_BYTES] = '\0';
    kept_names_answered(name, KEPT_ANY, many, 1);
    ck_assert_uint_eq(find(name, KEPT_ANY, found), 0);
    name[KEPT_NAME_BYTES - 1] = '\0';
    kept_names_answered(name, KEPT_ANY, many, 1);
    ck_assert_uint_eq(find(name, KEPT_ANY, found), 1);
}

TEST(damage_reads_as_not_known)
{
    struct address found[KEPT_ADDRESSES_MAX];
    segment_current = &segment;
    keep("a.test", KEPT_ANY, v4(1), v4(2));
    for (unsigned i = 0; i < KEPT_NAMES_MAX; i++)
        for (unsigned version = 0; version < 2; version++)
            segment.names[i].versions[version].answer.count ^= 0x80000001u;
    ck_assert_uint_eq(find("a.test", KEPT_ANY, found), 0);
    keep("a.test", KEPT_ANY, v4(3), v4(4));
    ck_assert_uint_eq(find("a.test", KEPT_ANY, found), 2);
}

TEST(places_of_the_future_are_given_away_first)
{
    struct address found[KEPT_ADDRESSES_MAX];
    char name[32];
    segment_current = &segment;
    memset(segment.names, 0xff, sizeof segment.names); /* all of them as far away as can be */
    for (unsigned i = 0; i < KEPT_NAMES_MAX; i++)
        segment.names[i].writer = 0;
    keep("a.test", KEPT_ANY, v4(1), v4(2));
    ck_assert_uint_eq(find("a.test", KEPT_ANY, found), 2);
    for (unsigned i = 0; i < KEPT_NAMES_MAX; i++)
        for (unsigned version = 0; version < 2; version++)
            segment.names[i].versions[version].answer.answered_ns = kept_names_now_ns() + 3600 * NS_PER_S;
    /* Each name gets a place, and none is taken from the one before it as long as there are others. */
    unsigned known = 0;
    for (unsigned i = 0; i < KEPT_NAMES_MAX / 4; i++) {
        snprintf(name, sizeof name, "host-%u.test", i);
        keep(name, KEPT_ANY, v4(i), v4(i));
    }
    for (unsigned i = 0; i < KEPT_NAMES_MAX / 4; i++) {
        snprintf(name, sizeof name, "host-%u.test", i);
        known += find(name, KEPT_ANY, found) != 0;
    }
    ck_assert_uint_eq(known, KEPT_NAMES_MAX / 4);
}

TEST(a_writer_that_is_gone_is_waited_for_no_longer_than_a_second)
{
    struct address found[KEPT_ADDRESSES_MAX];
    segment_current = &segment;
    keep("a.test", KEPT_ANY, v4(1), v4(2));
    for (unsigned i = 0; i < KEPT_NAMES_MAX; i++)
        segment.names[i].writer = kept_names_now_ns();
    keep("a.test", KEPT_ANY, v4(3), v4(4));
    ck_assert_uint_eq(find("a.test", KEPT_ANY, found), 2);
    ck_assert(is_first(found, v4(1)));
    for (unsigned i = 0; i < KEPT_NAMES_MAX; i++)
        segment.names[i].writer = kept_names_now_ns() - 2 * NS_PER_S;
    keep("a.test", KEPT_ANY, v4(3), v4(4));
    ck_assert_uint_eq(find("a.test", KEPT_ANY, found), 2);
    ck_assert(is_first(found, v4(3)));
}

SUITE("kept_names", without_a_segment_nothing_is_kept, the_last_answer_is_found,
      a_question_about_one_family_is_answered_by_a_wider_one_and_not_the_other_way_round,
      a_failure_is_remembered_until_the_next_answer,
      a_full_table_gives_the_oldest_place_and_never_another_names_answer,
      long_names_and_long_answers_are_cut_nowhere, damage_reads_as_not_known,
      places_of_the_future_are_given_away_first, a_writer_that_is_gone_is_waited_for_no_longer_than_a_second)
