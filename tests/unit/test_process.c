#include <string.h>

#include "state/process.h"
#include "suite.h"

static void begin(char *variable)
{
    char *environment[] = {variable, NULL};
    memset(&settings, 0, sizeof settings);
    process_begin(environment);
}

TEST(a_seed_is_a_whole_number_of_64_bits)
{
    static const char *const good[] = {"0", "7", "0007", "18446744073709551615", "000018446744073709551615"};
    static const char *const bad[] = {"abc",
                                      "",
                                      "-1",
                                      "+1",
                                      "1 ",
                                      "1.5",
                                      "0x10",
                                      "18446744073709551616",
                                      "99999999999999999999",
                                      "184467440737095516150"};
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++)
        ck_assert_msg(process_is_seed(good[i]), "%s", good[i]);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!process_is_seed(bad[i]), "%s", bad[i]);
}

TEST(a_bad_seed_is_as_if_it_were_not_set)
{
    begin((char[]){"RESIL_SEED=12x"});
    ck_assert(!settings.has_seed && settings.is_seed_bad && settings.seed == 0);
    begin((char[]){"RESIL_SEED=18446744073709551615"});
    ck_assert(settings.has_seed && !settings.is_seed_bad && settings.seed == UINT64_MAX);
    begin((char[]){"RESIL_SEED="});
    ck_assert(!settings.has_seed && !settings.is_seed_bad);
}

TEST(a_switch_is_on_by_what_says_so)
{
    static const char *const on[] = {"RESIL_FAULTS=1", "RESIL_FAULTS=on", "RESIL_FAULTS=yes",
                                     "RESIL_FAULTS=True"};
    static const char *const off[] = {"RESIL_FAULTS=0",  "RESIL_FAULTS=",      "RESIL_FAULTS=off",
                                      "RESIL_FAULTS=no", "RESIL_FAULTS=false", "RESIL_FAULTS=OFF"};
    static const char *const bad[] = {"RESIL_FAULTS=2", "RESIL_FAULTS=11", "RESIL_FAULTS=o",
                                      "RESIL_FAULTS=maybe"};
    for (unsigned i = 0; i < sizeof on / sizeof *on; i++) {
        begin((char *)(uintptr_t)on[i]);
        ck_assert_msg(settings.are_faults_armed && !settings.has_bad, "%s", on[i]);
    }
    for (unsigned i = 0; i < sizeof off / sizeof *off; i++) {
        begin((char *)(uintptr_t)off[i]);
        ck_assert_msg(!settings.are_faults_armed && !settings.has_bad, "%s", off[i]);
    }
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin((char *)(uintptr_t)bad[i]);
        ck_assert_msg(!settings.are_faults_armed && settings.has_bad, "%s", bad[i]);
        ck_assert_str_eq(settings.bad_switches[0], "RESIL_FAULTS");
    }
    begin((char[]){"RESIL_DISABLE=no"});
    ck_assert(!settings.is_disabled);
    begin((char[]){"RESIL_STRICT=no"});
    ck_assert(!settings.is_strict);
}

TEST(words_that_are_no_place_are_no_log)
{
    static const char *const bad[] = {"RESIL_LOG=stdout", "RESIL_LOG=1",      "RESIL_LOG=yes",
                                      "RESIL_LOG=true",   "RESIL_LOG=STDERR", "RESIL_LOG=Stdout",
                                      "RESIL_LOG=OFF",    "RESIL_LOG=No"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin((char *)(uintptr_t)bad[i]);
        ck_assert_msg(settings.is_log_bad && !settings.log[0], "%s", bad[i]);
    }
    begin((char[]){"RESIL_LOG=stderr"});
    ck_assert(!settings.is_log_bad && strcmp(settings.log, "stderr") == 0);
    begin((char[]){"RESIL_LOG=./stdout"});
    ck_assert(!settings.is_log_bad && settings.log[0] == '/' && strstr(settings.log, "/./stdout"));
    begin((char[]){"RESIL_LOG="});
    ck_assert(!settings.is_log_bad && !settings.log[0]);
}

TEST(paths_are_absolute_from_the_start)
{
    begin((char[]){"RESIL_STATE_DIR=here"});
    ck_assert(settings.state_dir[0] == '/' && strstr(settings.state_dir, "/here"));
    begin((char[]){"RESIL_RULES=here.yaml"});
    ck_assert(settings.rules[0] == '/');
}

SUITE("process", a_seed_is_a_whole_number_of_64_bits, a_bad_seed_is_as_if_it_were_not_set,
      a_switch_is_on_by_what_says_so, words_that_are_no_place_are_no_log, paths_are_absolute_from_the_start)
