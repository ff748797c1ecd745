#include <pthread.h>
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

SUITE("names", an_address_that_was_never_looked_up_has_no_name, a_name_is_found_in_its_normal_form,
      the_most_recent_of_several_names_wins, this_threads_last_lookup_wins_over_a_more_recent_one,
      names_that_are_none_are_not_remembered, more_addresses_than_places_forget_the_oldest_only,
      readers_never_see_half_a_name)
