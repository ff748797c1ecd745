#include "state/whereabouts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "suite.h"

struct said {
    unsigned long pid_namespace, time_namespace, device, ahead_ms;
};

static struct said passed_on(void)
{
    char text[WHEREABOUTS_BYTES];
    struct said said;
    ck_assert(whereabouts_pass_on(text));
    ck_assert_int_eq(sscanf(text, "%lx-%lx-%lx-%lx", &said.pid_namespace, &said.time_namespace, &said.device,
                            &said.ahead_ms),
                     4);
    return said;
}

static bool is_taken(struct said said)
{
    char text[WHEREABOUTS_BYTES];
    struct whereabouts here;
    snprintf(text, sizeof text, "%lx-%lx-%lx-%lx", said.pid_namespace, said.time_namespace, said.device,
             said.ahead_ms);
    return whereabouts_take(text, &here);
}

TEST(what_was_passed_on_is_what_would_be_found)
{
    struct whereabouts found, here;
    char text[WHEREABOUTS_BYTES];
    whereabouts_find(&found);
    ck_assert(whereabouts_pass_on(text));
    errno = 5;
    ck_assert(whereabouts_take(text, &here));
    ck_assert_int_eq(errno, 5);
    ck_assert_uint_ne(here.pid_namespace, 0);
    ck_assert_uint_eq(here.pid_namespace, found.pid_namespace);
    ck_assert_uint_eq(here.time_namespace, found.time_namespace);
}

TEST(under_another_proc_it_does_not_hold)
{
    struct said said = passed_on();
    ck_assert(is_taken(said));
    said.device++;
    ck_assert(!is_taken(said));
}

TEST(with_a_clock_that_is_elsewhere_it_does_not_hold)
{
    struct said said = passed_on();
    for (long shift = -100000; shift <= 100000; shift += 10000) {
        struct said shifted = said;
        shifted.ahead_ms += (unsigned long)shift;
        ck_assert_int_eq(is_taken(shifted), shift == 0);
    }
    said.ahead_ms += 300; /* ticks that come late */
    ck_assert(is_taken(said));
}

TEST(what_was_out_of_reach_is_not_taken)
{
    struct said said = passed_on(), none = said;
    none.pid_namespace = 0;
    ck_assert(!is_taken(none));
    none = said;
    none.time_namespace = 0;
    ck_assert(!is_taken(none));
    none = said;
    none.device = 0;
    ck_assert(!is_taken(none));
}

TEST(other_texts_are_not_taken)
{
    static const char *const texts[] = {"",
                                        "-",
                                        "1-2-3",
                                        "1-2-3-",
                                        "-1-2-3",
                                        "1-2-3-4-5",
                                        "1-2-3-4 ",
                                        "g-2-3-4",
                                        "0x1-2-3-4",
                                        "1--3-4",
                                        "11111111111111111-2-3-4",
                                        "1-2-3-A"};
    struct whereabouts here;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        ck_assert_msg(!whereabouts_take(texts[i], &here), "%s", texts[i]);
    /* Nor the right one with something behind it. */
    char text[WHEREABOUTS_BYTES + 1];
    ck_assert(whereabouts_pass_on(text));
    ck_assert(whereabouts_take(text, &here));
    strcat(text, "-");
    ck_assert(!whereabouts_take(text, &here));
}

TEST(lives_of_a_machine_are_told_apart_by_boot_ids_or_else_by_time)
{
    static const char one[40] = "one", other[40] = "other", unknown[40] = "";
    struct stat now = {.st_ctim.tv_sec = time(NULL)}, old = {.st_ctim.tv_sec = 1000000};
    ck_assert(whereabouts_are_of_one_life(one, one, &old));
    ck_assert(!whereabouts_are_of_one_life(one, other, &now));
    ck_assert(whereabouts_are_of_one_life(unknown, one, &now));
    ck_assert(whereabouts_are_of_one_life(one, unknown, &now));
    ck_assert(whereabouts_are_of_one_life(unknown, unknown, &now));
    ck_assert(!whereabouts_are_of_one_life(unknown, one, &old));
    ck_assert(!whereabouts_are_of_one_life(one, unknown, &old));
    ck_assert(whereabouts_are_of_one_life(one, unknown, NULL));
}

SUITE("whereabouts", what_was_passed_on_is_what_would_be_found, under_another_proc_it_does_not_hold,
      with_a_clock_that_is_elsewhere_it_does_not_hold, what_was_out_of_reach_is_not_taken,
      other_texts_are_not_taken, lives_of_a_machine_are_told_apart_by_boot_ids_or_else_by_time)
