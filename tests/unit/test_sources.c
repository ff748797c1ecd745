#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "rules/rules.h"
#include "rules/sources.h"
#include "suite.h"

#define RULES "version: 1\ninclude: b.yaml\nrules: [{name: a, match: {}, breaker: {}}]\n"
#define MORE  "version: 1\nrules: [{name: b, match: {}, breaker: {}}]\n"

static char folder[] = "/tmp/resil-test-XXXXXX", path[64], included[64];
static struct sources sources;
static struct problems problems;

static void write_file(const char *to, const char *text, int flags)
{
    int file = open(to, O_WRONLY | O_CREAT | flags, 0600);
    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(write(file, text, strlen(text)), (int)strlen(text));
    close(file);
}

static void set_up(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.yaml", folder);
    snprintf(included, sizeof included, "%s/b.yaml", folder);
    write_file(path, RULES, 0);
    write_file(included, MORE, 0);
}

static void tear_down(void)
{
    unlink(path);
    unlink(included);
    rmdir(folder);
}

static struct ruleset *load(void)
{
    memset(&sources, 0, sizeof sources);
    return ruleset_load_from(path, 0, &problems, &sources);
}

static bool is_changed(void)
{
    return sources_glance(&sources, 0).identity != sources.identity;
}

TEST(files_that_nobody_touches_are_what_they_were)
{
    set_up();
    struct ruleset *set = load();
    ck_assert_ptr_nonnull(set);
    ck_assert_uint_eq(sources.count, 2);
    ck_assert(!is_changed());
    ruleset_free(set);
    tear_down();
}

TEST(an_included_file_that_changes_is_a_change)
{
    set_up();
    ruleset_free(load());
    write_file(included, "# more\n", O_APPEND);
    ck_assert(is_changed());
    tear_down();
}

TEST(files_of_bad_rules_are_known_too)
{
    set_up();
    write_file(included, "rules: x\n", O_APPEND);
    ck_assert_ptr_null(load());
    ck_assert_uint_eq(sources.count, 2);
    ck_assert(!is_changed());
    write_file(included, MORE, O_TRUNC);
    ck_assert(is_changed());
    tear_down();
}

TEST(an_included_file_that_is_missing_may_come)
{
    set_up();
    unlink(included);
    ck_assert_ptr_null(load());
    ck_assert(!is_changed());
    write_file(included, MORE, 0);
    ck_assert(is_changed());
    tear_down();
}

TEST(a_file_with_a_bad_mode_may_get_a_better_one)
{
    set_up();
    chmod(path, 0666);
    ck_assert_ptr_null(load());
    ck_assert(!is_changed());
    chmod(path, 0600);
    ck_assert(is_changed());
    ruleset_free(load());
    tear_down();
}

TEST(one_that_vanishes_is_gone)
{
    set_up();
    ruleset_free(load());
    ck_assert(!sources_glance(&sources, 0).is_gone);
    unlink(path);
    ck_assert(sources_glance(&sources, 0).is_gone);
    ck_assert(is_changed());
    tear_down();
}

static uint64_t modified_ns(void)
{
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    return file_identity_of(&status).modified_ns;
}

TEST(what_is_written_in_place_is_left_alone_for_a_moment)
{
    set_up();
    ruleset_free(load());
    write_file(path, "# half\n", O_TRUNC);
    uint64_t written = modified_ns();
    ck_assert(sources_glance(&sources, written + 100 * NS_PER_MS).is_being_written);
    ck_assert(!sources_glance(&sources, written + 300 * NS_PER_MS).is_being_written);
    /* A clock that was put back must not make it wait for hours. */
    ck_assert(!sources_glance(&sources, written - 3600 * NS_PER_S).is_being_written);
    tear_down();
}

TEST(what_was_finished_before_it_was_renamed_is_taken_at_once)
{
    set_up();
    ruleset_free(load());
    char aside[72];
    snprintf(aside, sizeof aside, "%s.new", path);
    write_file(aside, RULES, 0);
    struct timespec past[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    ck_assert_int_eq(utimensat(AT_FDCWD, aside, past, 0), 0);
    ck_assert_int_eq(rename(aside, path), 0);
    ck_assert(is_changed());
    ck_assert(!sources_glance(&sources, modified_ns() + 1).is_being_written);
    tear_down();
}

SUITE("sources", files_that_nobody_touches_are_what_they_were, an_included_file_that_changes_is_a_change,
      files_of_bad_rules_are_known_too, an_included_file_that_is_missing_may_come,
      a_file_with_a_bad_mode_may_get_a_better_one, one_that_vanishes_is_gone,
      what_is_written_in_place_is_left_alone_for_a_moment,
      what_was_finished_before_it_was_renamed_is_taken_at_once)
