#include "state/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include "state/own.h"

struct settings settings;

/* One page that the kernel empties in a fork child but not in a vfork child, which is how the two are told apart. */
struct identity {
    pid_t owner; /* changed atomically */
};
static struct identity *identity;
#ifdef PROCESS_SEES_SHARING
static bool is_shared; /* ever */
#else
static bool is_shared = true;
#endif
static pid_t born; /* in ordinary memory: a fork child keeps it */
static _Atomic uint64_t calls;

static __attribute__((noinline)) bool find_out_who_owns_memory(struct identity *mine);
static bool is_set(const char *value, const char *variable);
static bool is_word(const char *value, const char *word);
static void copy_setting(char *to, size_t capacity, const char *value);
static void copy_path(char *to, size_t capacity, const char *value);
static void copy_log(const char *value);
static inline const char *value_of(const char *variable, const char *name);
static uint64_t number_of(const char *digits);

void process_begin(char **environment)
{
    int error = errno;
    const char *home = NULL, *config_home = NULL;
    for (char **variable = environment; variable && *variable; variable++) {
        const char *value;
        if ((*variable)[0] == 'H' && (value = value_of(*variable, "HOME")))
            home = value;
        if ((*variable)[0] == 'X' && (value = value_of(*variable, "XDG_CONFIG_HOME")) && value[0] == '/')
            config_home = value;
        if ((*variable)[0] != 'R' || strncmp(*variable, "RESIL_", 6) != 0)
            continue;
        const char *ours = *variable + 6;
        if ((value = value_of(ours, "RULES")))
            copy_path(settings.rules, sizeof settings.rules, value);
        else if ((value = value_of(ours, "STATE_DIR")))
            copy_path(settings.state_dir, sizeof settings.state_dir, value);
        else if ((value = value_of(ours, "LOG")))
            copy_log(value);
        else if ((value = value_of(ours, "STRICT")))
            settings.is_strict = is_set(value, "RESIL_STRICT");
        else if ((value = value_of(ours, "EARLY")))
            settings.is_early = is_set(value, "RESIL_EARLY");
        else if ((value = value_of(ours, "NAMESPACES")))
            copy_setting(settings.namespaces, sizeof settings.namespaces, value);
        else if ((value = value_of(ours, "FAULTS")))
            settings.are_faults_armed =
                (settings.are_faults_shadow = is_word(value, "shadow")) || is_set(value, "RESIL_FAULTS");
        else if (value_of(ours, "INHERITED"))
            settings.has_inherited = true;
        else if ((value = value_of(ours, "DISABLE")))
            settings.is_disabled = is_set(value, "RESIL_DISABLE");
        else if ((value = value_of(ours, "SEED")) && *value) {
            settings.has_seed = process_is_seed(value);
            settings.is_seed_bad = !settings.has_seed;
            settings.has_bad |= settings.is_seed_bad;
            settings.seed = settings.has_seed ? number_of(value) : 0;
        }
    }
    if (settings.rules[0])
        home = config_home = NULL; /* every page that is touched here costs each program that starts */
    if (config_home)
        copy_setting(settings.config_home, sizeof settings.config_home, config_home);
    else if (home && home[0] == '/' && strlen(home) + 9 < sizeof settings.config_home) {
        copy_setting(settings.config_home, sizeof settings.config_home, home);
        strcat(settings.config_home, "/.config");
    }
    memcpy(settings.program, process_program(), strnlen(process_program(), sizeof settings.program - 1));
    if (getauxval(AT_SECURE))
        settings.is_disabled = true;
    errno = error;
}

bool process_is_log(const char *value)
{
    static const char *const words[] = {"stdout", "stdin", "on",   "yes",   "true",
                                        "1",      "no",    "none", "false", "0"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        if (is_word(value, words[i]))
            return false;
    bool is_other = is_word(value, "stderr") || is_word(value, "off");
    return !is_other || strcmp(value, "stderr") == 0 || strcmp(value, "off") == 0;
}

/* In whatever case. */
static bool is_word(const char *value, const char *word)
{
    for (; *word && (*value == *word || *value + 'a' - 'A' == *word); value++, word++)
        ;
    return !*word && !*value;
}

bool process_is_seed(const char *value)
{
    static const char most[] = "18446744073709551615";
    size_t length = strspn(value, "0123456789");
    if (length == 0 || value[length])
        return false;
    size_t zeros = strspn(value, "0");
    length -= zeros;
    return length < sizeof most - 1 || (length == sizeof most - 1 && strcmp(value + zeros, most) <= 0);
}

/* Programs write over it later (nginx: "nginx: worker process"), so it is kept as it was at the start. */
const char *process_program(void)
{
    static char name[256];
    if (!name[0] && program_invocation_short_name)
        strncpy(name, program_invocation_short_name, sizeof name - 1);
    return name;
}

bool process_owns_memory(void)
{
    struct identity *mine = __atomic_load_n(&identity, __ATOMIC_ACQUIRE);
    bool is_known = mine && !__atomic_load_n(&is_shared, __ATOMIC_RELAXED) &&
                    __atomic_load_n(&mine->owner, __ATOMIC_RELAXED);
    return is_known || find_out_who_owns_memory(mine);
}

static bool find_out_who_owns_memory(struct identity *mine)
{
    int error = errno;
    if (!mine) {
        struct identity *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) {
            errno = error;
            return true; /* without it a fork child cannot be told from a vfork child; the first is far likelier */
        }
        if (madvise(page, 4096, MADV_WIPEONFORK) != 0) {
            munmap(page, 4096);
            errno = error;
            return true;
        }
        if (__atomic_compare_exchange_n(&identity, &mine, page, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            mine = page;
        else
            munmap(page, 4096);
    }
    errno = error;
    pid_t pid = getpid(), unborn = 0;
    __atomic_compare_exchange_n(&born, &unborn, pid, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    pid_t owner = 0;
    if (__atomic_compare_exchange_n(&mine->owner, &owner, pid, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return true;
    return owner == pid;
}

void process_shares(void)
{
    /* Whose it is, before it is anybody else's too: the child may be the first to ask. */
    if (__atomic_load_n(&identity, __ATOMIC_ACQUIRE))
        process_owns_memory();
    __atomic_store_n(&is_shared, true, __ATOMIC_RELAXED);
}

void process_forked(void)
{
    struct identity *mine = __atomic_load_n(&identity, __ATOMIC_ACQUIRE);
    if (mine)
        __atomic_store_n(&mine->owner, getpid(), __ATOMIC_RELEASE);
}

bool process_is_original(void)
{
    return getpid() == __atomic_load_n(&born, __ATOMIC_RELAXED);
}

pid_t process_id(void)
{
    struct identity *mine = __atomic_load_n(&identity, __ATOMIC_ACQUIRE);
    pid_t owner = mine ? __atomic_load_n(&mine->owner, __ATOMIC_RELAXED) : 0;
    if (owner)
        return owner;
    process_owns_memory(); /* a fork child's first call: remember who it is */
    return getpid();
}

bool process_is_gone(pid_t pid)
{
    if (pid <= 0 || pid == getpid())
        return false;
    int error = errno;
    bool is_gone = getpgid(pid) < 0 && errno == ESRCH; /* asks, and can do nothing else */
    /* What was killed and is not waited for still has its number. */
    char path[32], line[128] = "";
    struct text text = text_begin(path, sizeof path);
    text_add(&text, "/proc/%d/stat", (int)pid);
    long file = is_gone ? -1 : syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        long length = syscall(SYS_read, file, line, sizeof line - 1);
        syscall(SYS_close, file);
        const char *state = length > 0 ? strrchr(line, ')') : NULL; /* the name before it may hold anything */
        is_gone = state && state[1] == ' ' && (state[2] == 'Z' || state[2] == 'X');
    }
    errno = error;
    return is_gone;
}

uint64_t process_next_seed(void)
{
    return process_next_seed_at(clock_now_ns());
}

uint64_t process_next_seed_at(uint64_t now_ns)
{
    uint64_t call = own_count_64(&calls);
    if (settings.has_seed)
        return hash_bytes(&call, sizeof call, settings.seed);
    /* The clock tells a fork child from its parent, the stack one thread from another. */
    return hash_bytes(&call, sizeof call, now_ns ^ (uint64_t)(uintptr_t)&call);
}

/* Who writes "no" must not get what "1" would have given. */
static bool is_set(const char *value, const char *variable)
{
    static const char *const on[] = {"on", "yes", "true"}, *const off[] = {"0", "", "off", "no", "false"};
    if (value[0] == '1' && !value[1])
        return true;
    for (unsigned i = 0; i < sizeof on / sizeof *on; i++)
        if (is_word(value, on[i]))
            return true;
    for (unsigned i = 0; i < sizeof off / sizeof *off; i++)
        if (is_word(value, off[i]))
            return false;
    unsigned count = 0;
    while (count < BAD_SWITCHES_MAX - 1 && settings.bad_switches[count])
        count++;
    settings.bad_switches[count] = variable;
    settings.has_bad = true;
    return false;
}

static void copy_setting(char *to, size_t capacity, const char *value)
{
    size_t length = strlen(value);
    if (length >= capacity)
        return; /* cut it would name something else: leave it unset */
    memcpy(to, value, length + 1);
}

/* Made absolute while the working directory is the one that the user meant. */
static void copy_path(char *to, size_t capacity, const char *value)
{
    if (value[0] && value[0] != '/' && syscall(SYS_getcwd, to, capacity) > 0 && to[0] == '/' &&
        strlen(to) + strlen(value) + 2 <= capacity) {
        strcat(to, "/");
        strcat(to, value);
        return;
    }
    copy_setting(to, capacity, value);
}

static void copy_log(const char *value)
{
    settings.is_log_bad = !process_is_log(value);
    settings.has_bad |= settings.is_log_bad;
    if (settings.is_log_bad)
        settings.log[0] = '\0';
    else if (strcmp(value, "stderr") == 0 || strcmp(value, "off") == 0)
        copy_setting(settings.log, sizeof settings.log, value);
    else
        copy_path(settings.log, sizeof settings.log, value);
}

/* Most differ in the first letter: every program that starts asks for all of them. */
static inline const char *value_of(const char *variable, const char *name)
{
    size_t length = strlen(name);
    return variable[0] == name[0] && strncmp(variable, name, length) == 0 && variable[length] == '='
               ? variable + length + 1
               : NULL;
}

static uint64_t number_of(const char *digits)
{
    uint64_t number = 0;
    for (; *digits >= '0' && *digits <= '9'; digits++)
        number = number * 10 + (uint64_t)(*digits - '0');
    return number;
}
