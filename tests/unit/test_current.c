#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "state/current.h"
#include "state/process.h"
#include "state/segment.h"
#include "suite.h"

static char folder[] = "/tmp/resil-test-XXXXXX";
static uint64_t now_ns;

/* Renamed into place, with a past of its own: no two versions look alike. */
static void put(const char *text)
{
    static time_t written;
    char aside[128];
    snprintf(aside, sizeof aside, "%s/new", folder);
    int file = open(aside, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_eq(write(file, text, strlen(text)), (int)strlen(text));
    written++;
    struct timespec past[2] = {{.tv_sec = written}, {.tv_sec = written}};
    ck_assert_int_eq(futimens(file, past), 0);
    close(file);
    ck_assert_int_eq(rename(aside, settings.rules), 0);
}

static void put_rules(unsigned retries, const char *total)
{
    char text[256];
    snprintf(text, sizeof text,
             "version: 1\nrules: [{name: a, match: {}, timeout: {connect: 1s, total: %s}, "
             "retry: {max_retries: %u}}]\n",
             total, retries);
    put(text);
}

static void set_up(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    chmod(folder, 0700);
    strcpy(settings.state_dir, folder);
    snprintf(settings.rules, sizeof settings.rules, "%s/rules.yaml", folder);
}

static void begin(void)
{
    rules_allow_reading();
    rules_read();
    now_ns = clock_now_ns();
}

static void tear_down(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static void look(void)
{
    now_ns += 2 * NS_PER_S;
    rules_look(now_ns);
}

/* -1: no rules. */
static int retries_now(void)
{
    struct visit visit;
    const struct ruleset *set = rules_enter(&visit);
    int retries = set ? (int)set->rules[0].policy.retry.max_retries : -1;
    rules_leave(&visit);
    return retries;
}

static uint64_t told(enum event_kind kind)
{
    return segment_current->events[kind];
}

TEST(changed_rules_are_in_force_at_the_next_look)
{
    set_up();
    put_rules(1, "5s");
    begin();
    ck_assert_int_eq(retries_now(), 1);
    put_rules(2, "5s");
    ck_assert_int_eq(retries_now(), 1);
    look();
    ck_assert_int_eq(retries_now(), 2);
    ck_assert_uint_eq(told(EVENT_RULES_RELOADED), 1);
    look();
    ck_assert_uint_eq(told(EVENT_RULES_RELOADED), 1);
    tear_down();
}

TEST(bad_rules_leave_the_old_ones_in_force_and_are_told_once)
{
    set_up();
    put_rules(1, "5s");
    begin();
    put("version: 1\nrules: [{name: a}]\n");
    look();
    look();
    ck_assert_int_eq(retries_now(), 1);
    ck_assert_uint_eq(told(EVENT_RULES_KEPT), 1);
    put("version: 1\nrules: [{name: b}]\n");
    look();
    ck_assert_uint_eq(told(EVENT_RULES_KEPT), 2);
    put_rules(3, "5s");
    look();
    ck_assert_int_eq(retries_now(), 3);
    tear_down();
}

TEST(rules_that_were_bad_from_the_start_can_be_mended)
{
    set_up();
    put("version: 1\nrules: [{name: a}]\n");
    begin();
    ck_assert_int_eq(retries_now(), -1);
    put_rules(1, "5s");
    look();
    ck_assert_int_eq(retries_now(), 1);
    tear_down();
}

TEST(emptied_rules_are_rules_too)
{
    set_up();
    put_rules(1, "5s");
    begin();
    put("version: 1\nrules: []\n");
    look();
    ck_assert_int_eq(retries_now(), -1);
    put_rules(1, "5s");
    look();
    ck_assert_int_eq(retries_now(), 1);
    tear_down();
}

TEST(a_file_that_vanishes_leaves_its_rules_and_may_come_back)
{
    set_up();
    put_rules(1, "5s");
    begin();
    unlink(settings.rules);
    look();
    look();
    ck_assert_int_eq(retries_now(), 1);
    ck_assert_uint_eq(told(EVENT_RULES_KEPT), 1);
    put_rules(1, "5s");
    look();
    ck_assert_uint_eq(told(EVENT_RULES_RELOADED), 0);
    put_rules(2, "5s");
    look();
    ck_assert_int_eq(retries_now(), 2);
    tear_down();
}

TEST(a_user_s_first_rule_file_takes_the_place_of_the_built_in_rules)
{
    set_up();
    char rules[sizeof settings.rules];
    snprintf(rules, sizeof rules, "%s/resil/rules.yaml", folder);
    settings.rules[0] = '\0';
    strcpy(settings.config_home, folder);
    begin();
    strcpy(settings.rules, rules);
    rules[strlen(rules) - strlen("/rules.yaml")] = '\0';
    ck_assert_int_eq(mkdir(rules, 0700), 0);
    put_rules(7, "5s");
    settings.rules[0] = '\0';
    look();
    ck_assert_int_eq(retries_now(), 7);
    tear_down();
}

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define IS_SANITIZED 1
#else
#define IS_SANITIZED 0
#endif

static unsigned mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned count = 0;
    while (fgets(line, sizeof line, maps))
        count++;
    fclose(maps);
    return count;
}

static unsigned long size_kib(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long size = 0;
    while (fgets(line, sizeof line, status))
        sscanf(line, "VmData: %lu", &size);
    fclose(status);
    return size;
}

TEST(old_rules_are_freed)
{
    set_up();
    put_rules(1, "3s");
    begin();
    unsigned long before = 0;
    for (unsigned i = 0; i < 300; i++) {
        if (i == 10)
            before = size_kib();
        put_rules(2 + i % 5, "3s");
        look();
        ck_assert_int_eq(retries_now(), 2 + (int)(i % 5));
    }
    unsigned long after = size_kib();
    unsigned count = mappings();
    if (!IS_SANITIZED) { /* a sanitizer has memory and mappings of its own */
        ck_assert_uint_le(after, before + 512);
        ck_assert_uint_lt(count, 200);
    }
    tear_down();
}

TEST(not_while_a_call_is_inside_however_long_it_takes)
{
    set_up();
    put_rules(9, "1s");
    begin();
    struct visit visit;
    const struct ruleset *set = rules_enter(&visit);
    for (unsigned i = 0; i < 100; i++) {
        put_rules(i % 5, "1s");
        look();
    }
    ck_assert_uint_eq(set->rules[0].policy.retry.max_retries, 9);
    rules_leave(&visit);
    look();
    tear_down();
}

TEST(nor_before_the_longest_call_under_them_is_over)
{
    set_up();
    put_rules(9, "30s");
    begin();
    struct visit visit;
    const struct ruleset *set = rules_enter(&visit);
    rules_leave(&visit);
    put_rules(1, "30s");
    for (unsigned i = 0; i < 14; i++)
        look();
    ck_assert_uint_eq(set->rules[0].policy.retry.max_retries, 9);
    tear_down();
}

TEST(a_fork_child_reads_for_itself)
{
    set_up();
    put_rules(1, "5s");
    begin();
    pid_t child = fork();
    if (child == 0) {
        put_rules(2, "5s");
        look();
        _exit(retries_now());
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(WEXITSTATUS(status), 2);
    ck_assert_int_eq(retries_now(), 1);
    look();
    ck_assert_int_eq(retries_now(), 2);
    ck_assert_uint_eq(told(EVENT_RULES_RELOADED), 1); /* once for both */
    tear_down();
}

TEST(prepared_rules_are_those_that_were_there_then)
{
    set_up();
    put_rules(1, "5s");
    rules_prepare(); /* makes the shared state */
    put_rules(2, "5s");
    segment_current = NULL;
    rules_prepare();
    ck_assert_ptr_null(segment_current);
    unlink(settings.rules);
    rules_read();
    now_ns = clock_now_ns();
    ck_assert_int_eq(retries_now(), 2);
    ck_assert_uint_eq(told(EVENT_RULES_LOADED), 1);
    put_rules(3, "5s");
    look();
    ck_assert_int_eq(retries_now(), 3);
    tear_down();
}

TEST(prepared_state_of_another_boot_is_not_used)
{
    set_up();
    put_rules(1, "5s");
    rules_prepare();
    struct segment *before = segment_current;
    strcpy(before->header.boot_id, "another");
    segment_current = NULL;
    rules_prepare();
    rules_read();
    ck_assert_ptr_nonnull(segment_current);
    ck_assert_str_ne(segment_current->header.boot_id, "another");
    tear_down();
}

TEST(what_includes_others_is_read_in_full_at_once)
{
    set_up();
    put("version: 1\ninclude: []\nrules: [{name: a, match: {}, retry: {max_retries: 4}}]\n");
    rules_prepare();
    ck_assert_uint_eq(rules_state, RULES_READ);
    tear_down();
}

static void *read_in_thread(void *unused)
{
    rules_read();
    return unused;
}

/* Where the file is so large that the child is made while its parent's other thread is at it. */
TEST(a_fork_child_does_not_wait_for_a_thread_that_it_has_not)
{
    set_up();
    FILE *file = fopen(settings.rules, "w");
    fprintf(file, "version: 1\nrules:\n");
    for (unsigned i = 0; i < 5000; i++)
        fprintf(file, "  - {name: r%u, match: {}, retry: {max_retries: 4}}\n", i);
    fclose(file);
    rules_allow_reading();
    pthread_t thread;
    pthread_create(&thread, NULL, read_in_thread, NULL);
    bool has_met_it = false;
    for (int i = 0; i < 50 && !has_met_it; i++) {
        pid_t child = fork();
        if (child == 0) {
            bool is_coming = rules_are_coming();
            _exit(retries_now() != 4 ? 2 : is_coming ? 1 : 0);
        }
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) != 2);
        has_met_it = WEXITSTATUS(status) == 1 && i > 0;
    }
    pthread_join(thread, NULL);
    ck_assert_int_eq(retries_now(), 4);
    tear_down();
}

TEST(a_vfork_child_looks_at_nothing)
{
    set_up();
    put_rules(1, "5s");
    begin();
    put_rules(2, "5s");
    process_shares(); /* as the hook does */
    pid_t child = vfork();
    if (child == 0) {
        rules_look(now_ns + 2 * NS_PER_S);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    ck_assert_int_eq(retries_now(), 1);
    look();
    ck_assert_int_eq(retries_now(), 2);
    tear_down();
}

SUITE("current", changed_rules_are_in_force_at_the_next_look,
      bad_rules_leave_the_old_ones_in_force_and_are_told_once,
      rules_that_were_bad_from_the_start_can_be_mended, emptied_rules_are_rules_too,
      a_file_that_vanishes_leaves_its_rules_and_may_come_back,
      a_user_s_first_rule_file_takes_the_place_of_the_built_in_rules, old_rules_are_freed,
      not_while_a_call_is_inside_however_long_it_takes, nor_before_the_longest_call_under_them_is_over,
      a_fork_child_reads_for_itself, prepared_rules_are_those_that_were_there_then,
      prepared_state_of_another_boot_is_not_used, what_includes_others_is_read_in_full_at_once,
      a_fork_child_does_not_wait_for_a_thread_that_it_has_not, a_vfork_child_looks_at_nothing)
