#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "state/names.h"
#include "suite.h"

static struct address numbered(unsigned number)
{
    struct address address = {{[10] = 0xff, [11] = 0xff, 10}};
    address.bytes[14] = (uint8_t)(number >> 8);
    address.bytes[15] = (uint8_t)number;
    return address;
}

TEST(an_address_that_was_never_looked_up_has_no_name)
{
    char name[NAME_MAX_BYTES];
    struct address address = numbered(1);
    ck_assert(!names_find(&address, name));
}

TEST(a_name_is_found_in_its_normal_form)
{
    char name[NAME_MAX_BYTES];
    struct address address = numbered(1);
    names_remember("Payments.TEST.", &address);
    ck_assert(names_find(&address, name));
    ck_assert_str_eq(name, "payments.test");
}

TEST(the_most_recent_of_several_names_wins)
{
    char name[NAME_MAX_BYTES];
    struct address address = numbered(1);
    names_remember("a.test", &address);
    names_remember("b.test", &address);
    ck_assert(names_find(&address, name));
    ck_assert_str_eq(name, "b.test");
    names_remember("a.test", &address);
    ck_assert(names_find(&address, name));
    ck_assert_str_eq(name, "a.test");
}

TEST(this_threads_last_lookup_wins_over_a_more_recent_one)
{
    char name[NAME_MAX_BYTES];
    struct address address = numbered(1);
    names_looked_up("A.test");
    names_remember("a.test", &address);
    names_remember("b.test", &address); /* another thread's */
    ck_assert(names_find(&address, name));
    ck_assert_str_eq(name, "a.test");
}

static void *look_up_b(void *said)
{
    struct address address = numbered(1);
    names_looked_up("b.test");
    names_remember("b.test", &address);
    names_looked_up("d.test");
    ck_assert(names_find(&address, said));
    return NULL;
}

TEST(each_thread_means_the_name_that_it_looked_up)
{
    char mine[NAME_MAX_BYTES], others[NAME_MAX_BYTES];
    struct address address = numbered(1), elsewhere = numbered(2);
    names_looked_up("a.test");
    names_remember("a.test", &address);
    names_looked_up("c.test"); /* and meanwhile something else */
    names_remember("c.test", &elsewhere);
    pthread_t thread;
    pthread_create(&thread, NULL, look_up_b, others);
    pthread_join(thread, NULL);
    ck_assert_str_eq(others, "b.test");
    ck_assert(names_find(&address, mine));
    ck_assert_str_eq(mine, "a.test");
}

TEST(many_threads_push_each_other_out_of_the_hints_only)
{
    char said[NAME_MAX_BYTES];
    struct address address = numbered(1);
    for (unsigned i = 0; i < 40; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, look_up_b, said);
        pthread_join(thread, NULL);
        ck_assert_str_eq(said, "b.test");
    }
    ck_assert(names_find(&address, said));
    ck_assert_str_eq(said, "b.test");
}

TEST(names_that_are_none_are_not_remembered)
{
    char name[NAME_MAX_BYTES], too_long[400];
    struct address address = numbered(1);
    memset(too_long, 'a', sizeof too_long - 1);
    too_long[sizeof too_long - 1] = '\0';
    names_remember(too_long, &address);
    names_remember("", &address);
    names_remember(".", &address);
    ck_assert(!names_find(&address, name));
}

TEST(more_addresses_than_places_forget_the_oldest_only)
{
    char name[NAME_MAX_BYTES];
    for (unsigned i = 0; i < 5000; i++) {
        struct address address = numbered(i);
        names_remember("many.test", &address);
    }
    struct address last = numbered(4999);
    ck_assert(names_find(&last, name));
}

static void *write_names(void *name)
{
    for (unsigned i = 0; i < 50000; i++) {
        struct address address = numbered(i % 7);
        names_remember(name, &address);
    }
    return NULL;
}

TEST(readers_never_see_half_a_name)
{
    static char a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test", b[] = "b.test";
    pthread_t threads[2];
    pthread_create(&threads[0], NULL, write_names, a);
    pthread_create(&threads[1], NULL, write_names, b);
    for (unsigned i = 0; i < 50000; i++) {
        char name[NAME_MAX_BYTES];
        struct address address = numbered(i % 7);
        if (names_find(&address, name))
            ck_assert_msg(strcmp(name, a) == 0 || strcmp(name, b) == 0, "%s", name);
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

static struct address numbered_v6(unsigned number)
{
    struct address address = {{0x20, 0x01, 0x0d, 0xb8}};
    address.bytes[15] = (uint8_t)number;
    return address;
}

TEST(a_name_that_was_never_looked_up_has_no_siblings)
{
    struct address own = numbered(1), siblings[ANSWER_MAX];
    ck_assert_uint_eq(names_siblings("a.test", &own, siblings, ANSWER_MAX), 0);
}

TEST(siblings_are_the_others_in_the_order_of_the_answer)
{
    struct address answer[] = {numbered(3), numbered(1), numbered(2)}, siblings[ANSWER_MAX];
    names_answered("A.test.", answer, 3);
    ck_assert_uint_eq(names_siblings("a.test", &answer[1], siblings, ANSWER_MAX), 2);
    ck_assert(address_equal(&siblings[0], &answer[0]));
    ck_assert(address_equal(&siblings[1], &answer[2]));
    ck_assert_uint_eq(names_siblings("a.test", &answer[0], siblings, 1), 1);
    ck_assert(address_equal(&siblings[0], &answer[1]));
    ck_assert_uint_eq(names_siblings("b.test", &answer[0], siblings, ANSWER_MAX), 0);
}

TEST(siblings_are_of_the_same_family)
{
    struct address answer[] = {numbered_v6(1), numbered(1), numbered_v6(2), numbered(2)},
                   siblings[ANSWER_MAX];
    names_answered("a.test", answer, 4);
    ck_assert_uint_eq(names_siblings("a.test", &answer[0], siblings, ANSWER_MAX), 1);
    ck_assert(address_equal(&siblings[0], &answer[2]));
    ck_assert_uint_eq(names_siblings("a.test", &answer[3], siblings, ANSWER_MAX), 1);
    ck_assert(address_equal(&siblings[0], &answer[1]));
}

TEST(each_family_has_its_last_answer)
{
    struct address v4[] = {numbered(1), numbered(2)}, v6[] = {numbered_v6(1), numbered_v6(2)},
                   later = numbered(9);
    struct address siblings[ANSWER_MAX];
    names_answered("a.test", v4, 2);
    names_answered("a.test", v6, 2);
    names_answered("a.test", &later, 1);
    ck_assert_uint_eq(names_siblings("a.test", &v4[0], siblings, ANSWER_MAX), 1);
    ck_assert(address_equal(&siblings[0], &later));
    ck_assert_uint_eq(names_siblings("a.test", &v6[0], siblings, ANSWER_MAX), 1);
}

TEST(a_long_answer_is_cut)
{
    struct address answer[40], siblings[40];
    for (unsigned i = 0; i < 40; i++)
        answer[i] = numbered(i);
    names_answered("a.test", answer, 40);
    ck_assert_uint_eq(names_siblings("a.test", &answer[39], siblings, 40), ANSWER_MAX);
    ck_assert_uint_eq(names_siblings("a.test", &answer[0], siblings, 40), ANSWER_MAX - 1);
}

TEST(more_names_than_places_forget_the_oldest_only)
{
    struct address answer[] = {numbered(1), numbered(2)}, siblings[ANSWER_MAX];
    char name[32] = "";
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "host%u.test", i);
        names_answered(name, answer, 2);
    }
    ck_assert_uint_eq(names_siblings(name, &answer[0], siblings, ANSWER_MAX), 1);
}

/* Each answers with addresses of its own; half an answer would mix them. */
static void *write_answers(void *number)
{
    unsigned first = *(unsigned *)number;
    struct address answer[ANSWER_MAX];
    for (unsigned i = 0; i < 50000; i++) {
        unsigned count = 2 + i % (ANSWER_MAX - 2);
        for (unsigned j = 0; j < count; j++)
            answer[j] = numbered(first + i % 7);
        names_answered("a.test", answer, count);
    }
    return NULL;
}

TEST(readers_never_see_half_an_answer)
{
    static unsigned first[] = {100, 200};
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, write_answers, &first[i]);
    struct address own = numbered(1), siblings[ANSWER_MAX];
    for (unsigned i = 0; i < 50000; i++) {
        unsigned count = names_siblings("a.test", &own, siblings, ANSWER_MAX);
        for (unsigned j = 1; j < count; j++)
            ck_assert(address_equal(&siblings[0], &siblings[j]));
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_gt(names_siblings("a.test", &own, siblings, ANSWER_MAX), 1);
}

TEST(the_addresses_of_a_name_are_those_of_one_lookup)
{
    struct address v4[2] = {numbered(1), numbered(2)};
    struct address both[3] = {{{0xfd, [15] = 1}}, numbered(1), numbered(2)};
    struct address all[2 * ANSWER_MAX];
    names_answered("a.test", v4, 2);
    ck_assert_uint_eq(names_addresses("a.test", &v4[0], all), 2);
    names_answered("a.test", both, 3);
    ck_assert_uint_eq(names_addresses("a.test", &v4[0], all), 3);
    ck_assert_uint_eq(names_addresses("a.test", &both[0], all), 3);
    /* A later lookup of one family: the other's answer is of before, and may hold no longer. */
    names_answered("a.test", v4, 2);
    ck_assert_uint_eq(names_addresses("a.test", &v4[0], all), 2);
    struct address gone = numbered(9);
    ck_assert_uint_eq(names_addresses("a.test", &gone, all), 0);
    ck_assert_uint_eq(names_addresses("b.test", &v4[0], all), 0);
}

static void *look_up_two(void *address)
{
    names_remember("a.test", address);
    names_remember("b.test", address);
    return NULL;
}

TEST(names_are_in_doubt_where_this_thread_has_looked_up_none_of_them)
{
    struct address address = numbered(1);
    char name[NAME_MAX_BYTES], others[NAMES_MAX][NAME_MAX_BYTES];
    ck_assert_uint_eq(names_others(&address, "a.test", others), 0);
    pthread_t thread;
    pthread_create(&thread, NULL, look_up_two, &address);
    pthread_join(thread, NULL);
    ck_assert(names_find(&address, name));
    ck_assert_str_eq(name, "b.test");
    ck_assert_uint_eq(names_others(&address, name, others), 1);
    ck_assert_str_eq(others[0], "a.test");
    names_remember("a.test", &address);
    ck_assert_uint_eq(names_others(&address, "a.test", others), 0);
}

SUITE("names", an_address_that_was_never_looked_up_has_no_name, a_name_is_found_in_its_normal_form,
      the_most_recent_of_several_names_wins, this_threads_last_lookup_wins_over_a_more_recent_one,
      each_thread_means_the_name_that_it_looked_up, many_threads_push_each_other_out_of_the_hints_only,
      names_that_are_none_are_not_remembered, more_addresses_than_places_forget_the_oldest_only,
      readers_never_see_half_a_name, a_name_that_was_never_looked_up_has_no_siblings,
      siblings_are_the_others_in_the_order_of_the_answer, siblings_are_of_the_same_family,
      each_family_has_its_last_answer, a_long_answer_is_cut, more_names_than_places_forget_the_oldest_only,
      readers_never_see_half_an_answer, the_addresses_of_a_name_are_those_of_one_lookup,
      names_are_in_doubt_where_this_thread_has_looked_up_none_of_them)
