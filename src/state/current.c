#include "state/current.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/text.h"
#include "report/sink.h"
#include "state/descriptors.h"
#include "state/process.h"
#include "state/recorder.h"
#include "state/segment.h"

#define EXIT_BAD_CONFIGURATION 78 /* sysexits.h: EX_CONFIG */

uint32_t rules_state;
const struct ruleset *rules_in_force;

static void read_in(struct problems *problems);
static void find_canonical(const char *path, char *canonical, size_t capacity);
static void tell_bad(const char *path, const struct problems *problems, bool is_named);
static void tell_private(void);
static bool is_first_of_session(void);
static void refuse_to_start(void);

void rules_allow_reading(void)
{
    __atomic_store_n(&rules_state, RULES_UNREAD, __ATOMIC_RELEASE);
}

void rules_read(void)
{
    int error = errno;
    if (__atomic_load_n(&rules_state, __ATOMIC_ACQUIRE) == RULES_TOO_EARLY)
        rules_allow_reading();
    uint32_t unread = RULES_UNREAD;
    if (!__atomic_compare_exchange_n(&rules_state, &unread, RULES_BEING_READ, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
        return;
    /* Problems are 5 KB: too much for the stack of whoever called connect. */
    struct problems *problems =
        mmap(NULL, sizeof *problems, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (problems != MAP_FAILED) {
        read_in(problems);
        munmap(problems, sizeof *problems);
    }
    __atomic_store_n(&rules_state, RULES_READ, __ATOMIC_RELEASE);
    errno = error;
}

bool rules_find_file(char *path, size_t capacity, bool *is_named)
{
    struct text text = text_begin(path, capacity);
    *is_named = settings.rules[0] != '\0';
    if (*is_named) {
        text_add(&text, "%s", settings.rules);
        return true;
    }
    if (settings.config_home[0]) {
        text_add(&text, "%s/resil/rules.yaml", settings.config_home);
        if (access(path, F_OK) == 0)
            return true;
    }
    text = text_begin(path, capacity);
    text_add(&text, "/etc/resil/rules.yaml");
    return access(path, F_OK) == 0;
}

static void read_in(struct problems *problems)
{
    static char path[4096],
        canonical[4096]; /* read_in runs once: not on the stack of whoever called connect */
    bool is_named = false;
    struct ruleset *set;
    process_owns_memory(); /* remember whose memory this is while we are surely not in a vfork child of ours */
    if (rules_find_file(path, sizeof path, &is_named)) {
        find_canonical(path, canonical, sizeof canonical);
        set = ruleset_load(path, 0, problems);
    } else {
        strcpy(canonical, "built-in");
        set = ruleset_builtin(0, problems);
    }
    bool is_shared = false;
    if (segment_open(canonical, &is_shared) && !is_shared)
        tell_private();
    struct event event = {.kind = EVENT_RULES_BAD, .count = problems->errors};
    struct text target = text_begin(event.target, sizeof event.target);
    size_t length = strlen(canonical);
    text_add(&target, "%s",
             canonical + (length >= sizeof event.target ? length - sizeof event.target + 1 : 0));
    if (!set) {
        recorder_note(&event);
        tell_bad(path, problems, is_named);
        if (settings.is_strict)
            refuse_to_start();
        return;
    }
    /* Counted, not recorded: every process reads them, and would push out what matters. */
    if (segment_current)
        atomic_fetch_add_explicit(&segment_current->events[EVENT_RULES_LOADED], 1, memory_order_relaxed);
    if (!set->rule_count || !descriptors_open())
        return;
    __atomic_store_n(&rules_in_force, set, __ATOMIC_RELEASE);
}

/* Without realpath, which may call malloc. */
static void find_canonical(const char *path, char *canonical, size_t capacity)
{
    struct text text = text_begin(canonical, capacity);
    int file = open(path, O_PATH | O_CLOEXEC);
    if (file >= 0) {
        char link[64];
        struct text link_text = text_begin(link, sizeof link);
        text_add(&link_text, "/proc/self/fd/%d", file);
        ssize_t length = readlink(link, canonical, capacity - 1);
        syscall(SYS_close, file);
        if (length > 0) {
            canonical[length] = '\0';
            return;
        }
    }
    text_add(&text, "%s", path);
}

/* On stderr, but only where the user named the file, and once for all the processes of a session. */
static void tell_bad(const char *path, const struct problems *problems, bool is_named)
{
    if (!is_named || (!is_first_of_session() && !settings.is_strict))
        return;
    char line[1400];
    for (uint32_t i = 0; i < problems->count && i < 3; i++) {
        const struct problem *problem = &problems->items[i];
        if (problem->kind != PROBLEM_ERROR)
            continue;
        struct text text = text_begin(line, sizeof line);
        text_add(&text, "libresil: %s:", *problem->path ? problem->path : path);
        if (problem->line)
            text_add(&text, "%u:%u:", problem->line, problem->column);
        text_add(&text, " %s\n", problem->text);
        sink_write_stderr(line, text.length);
    }
    struct text text = text_begin(line, sizeof line);
    text_add(&text, "libresil: %s: %u error%s; %s (`resil check` shows all)\n", path, problems->errors,
             problems->errors == 1 ? "" : "s",
             settings.is_strict ? "RESIL_STRICT is set, so the program is not started"
                                : "no rules are in force, the program runs as without libresil");
    sink_write_stderr(line, text.length);
}

/* Breakers then know of this process's calls only. */
static void tell_private(void)
{
    struct event event = {.kind = EVENT_PASSED_THROUGH, .count = PASSED_PRIVATE};
    char directory[1100];
    segment_directory(directory, sizeof directory);
    struct text target = text_begin(event.target, sizeof event.target);
    text_add(&target, "%s", directory);
    recorder_note(&event);
    char line[320];
    struct text text = text_begin(line, sizeof line - 1);
    text_add(&text, "libresil: ");
    event_say(&event, &text);
    line[text.length++] = '\n';
    if (!sink_write(line, text.length))
        segment_passed(PASSED_LOG_LOST);
}

static bool is_first_of_session(void)
{
    if (!segment_current)
        return true;
    uint64_t session = (uint64_t)getsid(0);
    return atomic_exchange_explicit(&segment_current->told_session, session, memory_order_relaxed) != session;
}

static void refuse_to_start(void)
{
    _exit(EXIT_BAD_CONFIGURATION);
}
