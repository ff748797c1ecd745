/* Writers of the segment that are killed at every step.
 *
 * A killed process leaves nothing behind but the content of its files and their names. So a writer is single-stepped,
 * and after each instruction that changed the segment, around each instruction with a lock prefix and each system call,
 * and at every n-th instruction besides, what it would leave now is copied. The copy must be readable, and a fresh process
 * must be able to open it, claim, report and record, as if nothing had happened. At some of these steps another writer
 * is really killed, which must come to the same.
 *
 *   killed STORY [EVERY]     looks at the steps above and at every EVERYth one (default 61) */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "state/breakers.h"
#include "state/kept_names.h"
#include "state/process.h"
#include "state/recorder.h"
#include "state/segment.h"

#define STEPS_MAX      2000000
#define KILL_EVERY     40
#define VDSO_BYTES_MAX 8192u
#define RULES          "/killed.yaml"

static struct rule rule = {.name = "tested", .identity = 1, .breaker_params_hash = 2};
static const struct breaker_params params = {
    .failure_threshold = 2,
    .failure_ratio_ppm = 500000,
    .minimum_calls = 100,
    .window_ns = 10 * NS_PER_S,
    .recovery_timeout_ns = NS_PER_S,
    .max_recovery_timeout_ns = 4 * NS_PER_S,
    .success_threshold = 1,
    .lease_ns = NS_PER_S,
};
static const struct budget_params budget = {
    .ratio_ppm = 200000, .floor_per_s = 10, .window_ns = 10 * NS_PER_S};

/* Where the writer works, and where the copy goes. */
static char original[] = "/dev/shm/resil-killed-XXXXXX", copied[] = "/dev/shm/resil-killed-XXXXXX";
static const char *folder;
static char segment_path[128];
static const char *const *story_now;
static unsigned long step_now;

/* ---- what is written ---- */

static struct target target_number(unsigned number, char name[32])
{
    snprintf(name, 32, "host-%u.test", number);
    return (struct target){.name = name, .port = 80};
}

static void claim_report_record(unsigned number)
{
    char name[32];
    struct target target = target_number(number, name);
    uint64_t now = clock_now_ns();
    struct host_handle host = hosts_find(&rule, &target, now);
    host_count(host, HOST_CALLS);
    budget_call(host, &budget, now);
    for (unsigned i = 0; i < 3; i++) {
        struct breaker_answer answer = breakers_admit(host, &params, now);
        if (answer.verdict != BREAKER_REJECT)
            breakers_ended(host, &params, answer.ticket, BREAKER_FAILURE, 1, now, NULL);
        budget_take(host, &budget, now);
    }
    struct event event = {.kind = EVENT_OPENED, .count = number};
    strcpy(event.target, "host.test:80");
    recorder_note(&event);
    now += 10 * NS_PER_S; /* the probe, and the recovery that it brings */
    struct breaker_answer answer = breakers_admit(host, &params, now);
    breakers_ended(host, &params, answer.ticket, BREAKER_SUCCESS, 1, now, NULL);
    segment_passed(PASSED_NON_BLOCKING);
}

static void fill_table(void)
{
    char name[32];
    for (unsigned i = 0; i < 4 * HOSTS_MAX; i++) {
        struct target target = target_number(100000 + i, name);
        hosts_find(&rule, &target, 1 + i);
    }
}

/* Answers of three addresses each, which all tell which answer it was. */
static void keep_answer(unsigned number)
{
    struct address addresses[3];
    for (unsigned i = 0; i < 3; i++)
        for (unsigned byte = 0; byte < sizeof addresses[i].bytes; byte++)
            addresses[i].bytes[byte] = (uint8_t)(number + i);
    kept_names_answered("kept.test", KEPT_ANY, addresses, 3);
}

/* Which one is known; 0: none. */
static unsigned kept_answer(void)
{
    struct address addresses[KEPT_ADDRESSES_MAX];
    struct stale_state state;
    unsigned count = kept_names_find("kept.test", KEPT_ANY, &state, addresses);
    for (unsigned i = 0; i < count; i++)
        for (unsigned byte = 0; byte < sizeof addresses[i].bytes; byte++)
            if (count != 3 || addresses[i].bytes[byte] != addresses[0].bytes[0] + i)
                return 255;
    return count ? addresses[0].bytes[0] : 0;
}

static void open_it(void)
{
    segment_open(RULES, NULL);
}

static void write_it(void)
{
    claim_report_record(1);
}

static void replace_it(void)
{
    segment_look_again(clock_now_ns() + 3600 * NS_PER_S);
    claim_report_record(2);
}

static void nothing(void)
{
}

static void unlink_it(void)
{
    open_it();
    unlink(segment_path);
}

static void damage_it(void)
{
    open_it();
    segment_current->header.magic++;
}

static void fill_it(void)
{
    open_it();
    fill_table();
}

static void keep_it(void)
{
    open_it();
    keep_answer(10);
}

static void renew_it(void)
{
    keep_answer(20);
    kept_names_failed("kept.test", false);
    keep_answer(30);
}

static const struct story {
    const char *name;
    void (*before)(void); /* not stepped */
    void (*stepped)(void);
    bool has_file; /* before and after every step there is a segment file */
} stories[] = {
    {"create", nothing, open_it, false},      {"write", open_it, write_it, true},
    {"evict", fill_it, write_it, true},       {"unlinked", unlink_it, replace_it, false},
    {"damaged", damage_it, replace_it, true}, {"names", keep_it, renew_it, true},
};

/* ---- what must hold afterwards ---- */

static void fail(const char *what)
{
    fprintf(stderr, "killed at step %lu of %s: %s (left in %s)\n", step_now, *story_now, what, folder);
    exit(1);
}

static void must(bool is_so, const char *what)
{
    if (!is_so)
        fail(what);
}

static void use(const char *name)
{
    folder = name;
    strcpy(settings.state_dir, name);
    char file[64];
    segment_file_name(RULES, file, sizeof file);
    snprintf(segment_path, sizeof segment_path, "%s/%s", folder, file);
}

static void empty_folder(void)
{
    DIR *directory = opendir(folder);
    for (const struct dirent *entry; directory && (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        closedir(directory);
}

static void copy_file(int from_folder, int to_folder, const char *name)
{
    static char content[sizeof(struct segment) + 1];
    int from = openat(from_folder, name, O_RDONLY | O_CLOEXEC);
    int to = openat(to_folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t size = from < 0 ? -1 : read(from, content, sizeof content);
    must(to >= 0 && size >= 0 && write(to, content, (size_t)size) == size, "a file cannot be copied");
    close(from);
    close(to);
}

/* What the writer would leave if it were killed now. */
static void copy_folder(void)
{
    use(copied);
    empty_folder();
    DIR *from = opendir(original), *to = opendir(copied);
    must(from && to, "the folders cannot be read");
    for (const struct dirent *entry; (entry = readdir(from));)
        if (entry->d_name[0] != '.')
            copy_file(dirfd(from), dirfd(to), entry->d_name);
    closedir(from);
    closedir(to);
}

static unsigned count_files(void)
{
    DIR *directory = opendir(folder);
    must(directory != NULL, "the folder cannot be read");
    unsigned count = 0;
    for (const struct dirent *entry; (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

static void check_content(const struct segment *segment)
{
    uint64_t now = clock_now_ns();
    must(memchr(segment->header.rules, 0, sizeof segment->header.rules) != NULL,
         "the header's path has no end");
    for (unsigned i = 0; i < HOSTS_MAX; i++) {
        const struct host *host = &segment->hosts[i];
        must(memchr(host->target, 0, sizeof host->target) != NULL, "a host's name has no end");
        must(memchr(host->rule, 0, sizeof host->rule) != NULL, "a rule's name has no end");
        uint64_t word = atomic_load(&host->breaker);
        must(breaker_view(word).state <= BREAKER_HALF_OPEN, "a breaker is in no state");
        struct breaker_answer answer = breaker_admit(word, &params, now);
        must(answer.verdict != BREAKER_REJECT || answer.until_ns < now + 120 * NS_PER_S,
             "a breaker stays open for too long");
        if (!atomic_load(&host->key))
            must(word == 0 && host->target[0] == '\0', "a free place is not empty");
    }
    uint64_t recorded = atomic_load(&segment->recorded);
    struct event event;
    for (uint64_t number = 0; number <= recorded; number++)
        if (recorder_read(segment, number, &event))
            must(event.kind < EVENT_KINDS && number < recorded, "an event is not one");
}

/* In a fresh process, as any program would. */
static void go_on(void)
{
    segment_current = NULL;
    bool is_shared;
    must(segment_open(RULES, &is_shared) && is_shared, "it cannot be opened any more");
    must(count_files() == 1, "something is left over");
    uint64_t before = atomic_load(&segment_current->recorded);
    char name[32];
    for (unsigned number = 1; number < 4; number++) {
        struct target target = target_number(number, name);
        claim_report_record(number);
        struct host_handle host = hosts_find(&rule, &target, clock_now_ns());
        must(host.host != NULL, "no place can be claimed");
        must(breakers_admit(host, &params, clock_now_ns() + 120 * NS_PER_S).verdict != BREAKER_REJECT,
             "a host is locked out");
        struct event event;
        must(recorder_read(segment_current, before + number - 1, &event) && event.count == number,
             "nothing can be recorded");
    }
    check_content(segment_current);
    if (strcmp(*story_now, "names") == 0) {
        unsigned kept = kept_answer();
        must(kept == 10 || kept == 20 || kept == 30, "the last good answer is lost, or two are mixed");
        keep_answer(40);
        must(kept_answer() == 40 || kept_answer() == kept, "an answer is mixed");
    }
}

static void check(const struct story *story)
{
    struct segment *segment = segment_map(segment_path, false);
    must(segment || errno == ENOENT || errno == EINVAL, "the file cannot be mapped");
    must(segment || !story->has_file || errno == EINVAL, "the file is gone");
    if (segment) {
        check_content(segment);
        segment_unmap(segment);
    }
    must(count_files() <= 2, "files pile up");
    pid_t fresh = fork();
    if (fresh == 0) {
        go_on();
        _exit(0);
    }
    int status;
    must(waitpid(fresh, &status, 0) == fresh && status == 0, "the next process does not come through");
}

/* ---- stepping ---- */

/* A writer, stopped right before what is to be stepped through. */
static pid_t start(const struct story *story)
{
    empty_folder();
    pid_t writer = fork();
    if (writer == 0) {
        story->before();
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        story->stepped();
        _exit(0);
    }
    int status;
    must(writer > 0 && waitpid(writer, &status, 0) == writer && WIFSTOPPED(status),
         "the writer does not start");
    return writer;
}

static bool step(pid_t writer)
{
    int status;
    must(ptrace(PTRACE_SINGLESTEP, writer, NULL, NULL) == 0, "ptrace");
    must(waitpid(writer, &status, 0) == writer, "waitpid");
    must(WIFSTOPPED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0), "the writer ends badly");
    return WIFSTOPPED(status);
}

/* Is the instruction to come a system call, or one with a lock prefix, or an exchange with memory? */
static bool is_boundary(pid_t writer)
{
#ifdef __x86_64__
    struct user_regs_struct registers;
    ptrace(PTRACE_GETREGS, writer, NULL, &registers);
    unsigned long code = (unsigned long)ptrace(PTRACE_PEEKTEXT, writer, (void *)registers.rip, NULL);
    const unsigned char *bytes = (const unsigned char *)&code;
    bool has_rex = (bytes[0] & 0xf0) == 0x40;
    return bytes[0] == 0xf0 || (bytes[0] == 0x0f && bytes[1] == 0x05) || (bytes[has_rex] & 0xfe) == 0x86;
#else
    (void)writer;
    return true;
#endif
}

/* Is it reading the kernel's clock? That begins again when the clock has moved on meanwhile, so whoever stops there for
 * long is never done. It writes nothing. */
static bool is_in_vdso(pid_t writer)
{
#ifdef __x86_64__
    struct user_regs_struct registers;
    ptrace(PTRACE_GETREGS, writer, NULL, &registers);
    return registers.rip - getauxval(AT_SYSINFO_EHDR) < VDSO_BYTES_MAX;
#else
    (void)writer;
    return false;
#endif
}

/* What the writer may change in the segment, to tell whether an instruction did. */
struct watch {
    struct segment *segment;
    struct {
        uint64_t events[EVENT_KINDS], passed[PASSED_REASON_COUNT], recorded;
        struct recorder_slot slots[4];
        struct host hosts[64];
    } seen;
};

static bool has_changed(struct watch *watch)
{
    if (!watch->segment)
        watch->segment = segment_map(segment_path, false);
    if (!watch->segment)
        return false;
    char name[32];
    static uint64_t keys[2];
    bool has = false;
#define LOOK(field, size)                                                                                    \
    do {                                                                                                     \
        if (memcmp(&watch->seen.field, &watch->segment->field, size) != 0) {                                 \
            has = true;                                                                                      \
            memcpy(&watch->seen.field, &watch->segment->field, size);                                        \
        }                                                                                                    \
    } while (0)
    LOOK(events, sizeof watch->seen.events);
    LOOK(passed, sizeof watch->seen.passed);
    LOOK(recorded, sizeof watch->seen.recorded);
#undef LOOK
    if (memcmp(watch->seen.slots, (const void *)watch->segment->recorder, sizeof watch->seen.slots) != 0) {
        has = true;
        memcpy(watch->seen.slots, (const void *)watch->segment->recorder, sizeof watch->seen.slots);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct target target = target_number(i + 1, name);
        if (!keys[i]) { /* where it points to, found out in private memory */
            struct segment *mine = segment_current;
            segment_current = calloc(1, sizeof(struct segment));
            keys[i] = hosts_find(&rule, &target, 1).key;
            free(segment_current);
            segment_current = mine;
        }
        for (unsigned j = 0; j < HOST_REACH; j++) {
            const struct host *host = &watch->segment->hosts[(keys[i] + j) % HOSTS_MAX];
            struct host *seen = &watch->seen.hosts[i * HOST_REACH + j];
            if (memcmp(seen, host, sizeof *seen) == 0)
                continue;
            has = true;
            memcpy(seen, host, sizeof *seen);
        }
    }
    return has;
}

/* Steps one writer to its end, and looks at what it would leave. Marks these steps; returns how many there are. */
static unsigned long follow(const struct story *story, unsigned long every, unsigned char *marks)
{
    static struct watch watch;
    pid_t writer = start(story);
    has_changed(&watch);
    bool was_boundary = false, is_alive = true;
    for (step_now = 0; is_alive && step_now < STEPS_MAX; step_now++) {
        bool is_here = is_boundary(writer);
        bool is_turn = step_now % every == 0 && !is_in_vdso(writer);
        if (is_here || was_boundary || is_turn || has_changed(&watch)) {
            marks[step_now] = 1;
            copy_folder();
            check(story);
            use(original);
        }
        was_boundary = is_here;
        is_alive = step(writer);
    }
    must(!is_alive, "the writer does not end");
    if (watch.segment)
        segment_unmap(watch.segment);
    return step_now;
}

static void kill_at(const struct story *story, unsigned long steps)
{
    pid_t writer = start(story);
    bool is_alive = true;
    for (unsigned long i = 0; i < steps && is_alive; i++)
        is_alive = step(writer);
    if (is_alive) {
        kill(writer, SIGKILL);
        waitpid(writer, NULL, 0);
    }
}

int main(int count, char **arguments)
{
    const struct story *story = NULL;
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++)
        if (count > 1 && strcmp(arguments[1], stories[i].name) == 0)
            story = &stories[i];
    unsigned long every = count > 2 ? strtoul(arguments[2], NULL, 10) : 61;
    if (!story || !every) {
        fprintf(stderr, "usage: killed create|write|evict|unlinked|damaged [EVERY]\n");
        return 2;
    }
    story_now = &story->name;
    must(mkdtemp(original) && mkdtemp(copied), "no folder");
    use(original);

    unsigned char *marks = calloc(STEPS_MAX, 1);
    must(marks != NULL, "no memory");
    unsigned long steps = follow(story, every, marks), looks = 0, kills = 0;
    for (step_now = 0; step_now < steps; step_now++) {
        if (!marks[step_now] || looks++ % KILL_EVERY)
            continue;
        kill_at(story, step_now);
        check(story);
        kills++;
    }
    printf("%s: %lu instructions, looked at after %lu of them, killed at %lu\n", story->name, steps, looks,
           kills);
    free(marks);
    use(copied);
    empty_folder();
    rmdir(copied);
    use(original);
    empty_folder();
    rmdir(original);
    return 0;
}
