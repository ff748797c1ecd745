#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "state/process.h"
#include "state/recorder.h"
#include "state/segment.h"
#include "state/whereabouts.h"
#include "suite.h"

static char folder[] = "/tmp/resil-test-XXXXXX";

static void use_folder(void)
{
    strcpy(folder, "/tmp/resil-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chmod(folder, 0700), 0);
    strcpy(settings.state_dir, folder);
}

static void remove_folder(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static void path_of(const char *rules, char *path, size_t size)
{
    char name[64];
    segment_file_name(rules, name, sizeof name);
    snprintf(path, size, "%s/%s", folder, name);
}

static bool is_shared_after_opening(const char *rules)
{
    bool is_shared;
    segment_current = NULL;
    ck_assert(segment_open(rules, &is_shared));
    ck_assert_ptr_nonnull(segment_current);
    return is_shared;
}

TEST(two_processes_with_the_same_rules_share_it)
{
    use_folder();
    ck_assert(is_shared_after_opening("/a.yaml"));
    pid_t child = fork();
    if (child == 0) {
        is_shared_after_opening("/a.yaml");
        atomic_store(&segment_current->recorded, 42);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    ck_assert_uint_eq(atomic_load(&segment_current->recorded), 42);
    remove_folder();
}

TEST(other_rules_have_another_one)
{
    use_folder();
    ck_assert(is_shared_after_opening("/a.yaml"));
    atomic_store(&segment_current->recorded, 42);
    ck_assert(is_shared_after_opening("/b.yaml"));
    ck_assert_uint_eq(atomic_load(&segment_current->recorded), 0);
    remove_folder();
}

TEST(a_file_of_another_boot_is_replaced)
{
    use_folder();
    ck_assert(is_shared_after_opening("/a.yaml"));
    strcpy(segment_current->header.boot_id, "another");
    atomic_store(&segment_current->recorded, 42);
    ck_assert(is_shared_after_opening("/a.yaml"));
    ck_assert_uint_eq(atomic_load(&segment_current->recorded), 0);
    remove_folder();
}

TEST(a_file_of_another_size_or_kind_is_replaced)
{
    char path[128];
    use_folder();
    path_of("/a.yaml", path, sizeof path);
    FILE *file = fopen(path, "w");
    fputs("not a segment", file);
    fclose(file);
    ck_assert(is_shared_after_opening("/a.yaml"));
    unlink(path);
    ck_assert_int_eq(symlink("/etc/passwd", path), 0);
    ck_assert(is_shared_after_opening("/a.yaml"));
    remove_folder();
}

TEST(a_folder_that_others_may_write_is_not_trusted)
{
    use_folder();
    ck_assert_int_eq(chmod(folder, 0777), 0);
    ck_assert(!is_shared_after_opening("/a.yaml"));
    atomic_store(&segment_current->recorded, 1); /* but there is memory to work with */
    remove_folder();
}

TEST(no_folder_means_private_memory_and_errno_stays)
{
    strcpy(settings.state_dir, "/proc/nowhere");
    errno = 77;
    ck_assert(!is_shared_after_opening("/a.yaml"));
    ck_assert_int_eq(errno, 77);
}

TEST(tools_do_not_map_what_is_no_segment)
{
    ck_assert_ptr_null(segment_map("/etc/passwd", false));
    ck_assert_ptr_null(segment_map("/nowhere", false));
    ck_assert_ptr_null(segment_map("/dev/zero", false));
}

TEST(the_recorder_returns_what_was_noted_until_it_is_overwritten)
{
    use_folder();
    is_shared_after_opening("/a.yaml");
    struct event event, got;
    for (unsigned i = 0; i < RECORDER_SLOTS + 10; i++) {
        event = (struct event){.kind = EVENT_RETRY, .count = i};
        recorder_note(&event);
    }
    ck_assert(!recorder_read(segment_current, 9, &got));
    ck_assert(recorder_read(segment_current, 10, &got));
    ck_assert_uint_eq(got.count, 10);
    ck_assert(recorder_read(segment_current, RECORDER_SLOTS + 9, &got));
    ck_assert_uint_eq(got.count, RECORDER_SLOTS + 9);
    ck_assert(!recorder_read(segment_current, RECORDER_SLOTS + 10, &got));
    ck_assert_uint_eq(atomic_load(&segment_current->events[EVENT_RETRY]), RECORDER_SLOTS + 10);
    remove_folder();
}

TEST(a_writer_killed_in_the_middle_costs_one_event)
{
    use_folder();
    is_shared_after_opening("/a.yaml");
    struct event event = {.kind = EVENT_RETRY}, got;
    atomic_store(&segment_current->recorded, 1);             /* event 0 was claimed ... */
    atomic_store(&segment_current->recorder[0].sequence, 1); /* ... and never finished */
    ck_assert(!recorder_read(segment_current, 0, &got));
    for (unsigned i = 1; i <= RECORDER_SLOTS; i++)
        recorder_note(&event);
    ck_assert(recorder_read(segment_current, RECORDER_SLOTS, &got)); /* its place is in use again */
    remove_folder();
}

TEST(texts_in_shared_memory_always_end)
{
    use_folder();
    is_shared_after_opening("/a.yaml");
    struct event event = {.kind = EVENT_RETRY}, got;
    recorder_note(&event);
    memset(segment_current->recorder[0].event.target, 'x', sizeof event.target);
    memset(segment_current->recorder[0].event.program, 'x', sizeof event.program);
    ck_assert(recorder_read(segment_current, 0, &got));
    ck_assert_uint_eq(strlen(got.target), sizeof got.target - 1);
    ck_assert_uint_eq(strlen(got.program), sizeof got.program - 1);
    remove_folder();
}

TEST(what_passed_through_before_there_was_a_segment_is_counted_once)
{
    use_folder();
    segment_passed(PASSED_LOADING);
    segment_passed(PASSED_LOADING);
    is_shared_after_opening("/a.yaml");
    segment_passed(PASSED_LOADING);
    ck_assert_uint_eq(atomic_load(&segment_current->passed[PASSED_LOADING]), 3);
    is_shared_after_opening("/a.yaml");
    ck_assert_uint_eq(atomic_load(&segment_current->passed[PASSED_LOADING]), 3);
    remove_folder();
}

/* What a program does that takes the state as it starts and uses it later. */
static bool is_shared_after_preparing(const char *rules, bool *is_prepared)
{
    segment_current = NULL;
    *is_prepared = segment_prepare(rules);
    return is_shared_after_opening(rules);
}

static void use_passed_on(uint64_t *pid_namespace, uint64_t *time_namespace, unsigned by)
{
    char rest[40];
    ck_assert(whereabouts_pass_on(settings.namespaces));
    unsigned long pid, time;
    ck_assert_int_eq(sscanf(settings.namespaces, "%lx-%lx-%39s", &pid, &time, rest), 3);
    *pid_namespace = pid + by;
    *time_namespace = time;
    snprintf(settings.namespaces, sizeof settings.namespaces, "%lx-%lx-%s", pid + by, time, rest);
}

TEST(what_is_there_at_the_start_is_used_later)
{
    bool is_prepared;
    uint64_t pid_namespace, time_namespace;
    use_folder();
    for (int is_passed_on = 0; is_passed_on <= 1; is_passed_on++) {
        is_shared_after_opening("/a.yaml");
        atomic_store(&segment_current->recorded, 42);
        if (is_passed_on)
            use_passed_on(&pid_namespace, &time_namespace, 0);
        ck_assert(is_shared_after_preparing("/a.yaml", &is_prepared));
        ck_assert(is_prepared);
        ck_assert_uint_eq(atomic_load(&segment_current->recorded), 42);
    }
    remove_folder();
}

TEST(what_turns_out_to_be_no_segment_is_replaced)
{
    bool is_prepared;
    use_folder();
    is_shared_after_opening("/a.yaml");
    atomic_store(&segment_current->recorded, 42);
    segment_current->header.layout++;
    ck_assert(is_shared_after_preparing("/a.yaml", &is_prepared));
    ck_assert_uint_eq(atomic_load(&segment_current->recorded), 0);
    remove_folder();
}

TEST(the_state_of_another_namespace_is_not_used_whatever_was_passed_on)
{
    bool is_prepared;
    char path[128], command[300];
    uint64_t pid_namespace, time_namespace;
    use_folder();
    is_shared_after_opening("/a.yaml");
    path_of("/a.yaml", path, sizeof path);
    atomic_store(&segment_current->recorded, 1);
    uint64_t ours = segment_current->header.pid_namespace;
    use_passed_on(&pid_namespace, &time_namespace, 1);
    uint64_t hash = hash_bytes("/a.yaml", strlen("/a.yaml"), pid_namespace ^ hash_mix(time_namespace));
    snprintf(command, sizeof command, "cp -p %s %s/v%u-%lx", path, folder, SEGMENT_LAYOUT,
             (unsigned long)hash);
    segment_current->header.pid_namespace = pid_namespace;
    ck_assert_int_eq(system(command), 0);
    segment_current->header.pid_namespace = ours;
    atomic_store(&segment_current->recorded, 2);
    ck_assert(is_shared_after_preparing("/a.yaml", &is_prepared));
    ck_assert(is_prepared);
    ck_assert_uint_eq(atomic_load(&segment_current->recorded), 2);
    remove_folder();
}

SUITE("segment", what_is_there_at_the_start_is_used_later, what_turns_out_to_be_no_segment_is_replaced,
      the_state_of_another_namespace_is_not_used_whatever_was_passed_on,
      what_passed_through_before_there_was_a_segment_is_counted_once,
      two_processes_with_the_same_rules_share_it, other_rules_have_another_one,
      a_file_of_another_boot_is_replaced, a_file_of_another_size_or_kind_is_replaced,
      a_folder_that_others_may_write_is_not_trusted, no_folder_means_private_memory_and_errno_stays,
      tools_do_not_map_what_is_no_segment, the_recorder_returns_what_was_noted_until_it_is_overwritten,
      a_writer_killed_in_the_middle_costs_one_event, texts_in_shared_memory_always_end)
