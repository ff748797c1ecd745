#include "state/current.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/text.h"
#include "base/undisturbed.h"
#include "rules/fault_names.h"
#include "rules/sources.h"
#include "state/descriptors.h"
#include "state/faults.h"
#include "state/process.h"
#include "state/rule_news.h"
#include "state/segment.h"

#define EXIT_BAD_CONFIGURATION 78 /* sysexits.h: EX_CONFIG */
#define LOOK_EVERY_NS          NS_PER_S
#define LOOK_SOON_NS           (250 * NS_PER_MS)
/* How long others wait for who reads the rules first, and how they do: most rules take less than one of these naps. */
#define READER_MAX_NS NS_PER_S
#define NAP_NS        (200 * NS_PER_US)
/* Old rules stay for as long as a call under them may take, and at most for as long as this. Nobody reads them then. */
#define KEPT_AT_MOST_NS (60 * NS_PER_S)

uint32_t rules_state;
static struct published rules_in_force; /* struct ruleset; NULL: none */
void (*rules_follower)(const struct ruleset *rules);

/* The process of the thread that reads the rules, or looks whether they have changed; 0: nobody does. */
static pid_t claimed_by;
static uint64_t look_at_ns; /* CLOCK_MONOTONIC, when to look again; 0: never */

/* What was read last, good or bad. For whoever has the claim. A fork child may find them as another thread was changing
 * them: each is changed by one store, in an order in which at worst something is read once more or not freed. */
static struct {
    const char *path;
    bool is_found, is_builtin, is_named;
    struct rules_copy *copy; /* read before, and not understood yet; or NULL */
    struct sources *sources; /* NULL: built in, or without memory */
    uint64_t hash;           /* of the text of the last good rules, which are in force */
    bool was_bad;
    uint64_t told;         /* the version of the files that was complained of */
    const char *canonical; /* what the segment is known by */
} latest;
static char found_path[sizeof settings.config_home + 32];

/* A rule set that is in force no longer, in memory of its own. */
struct retired {
    struct ruleset *set;
    struct retired *next;
    uint64_t free_at_ns;
    uint32_t version; /* that it was published as */
};
static struct retired *all_retired;

static void follow(void);
static void await_reader(void);
static bool claim(void);
static void find(void);
static void open_segment(void);
static void read_in(struct problems *problems);
static uint64_t read_again(struct problems *problems, uint64_t now_ns);
static bool put_in_force(struct ruleset *set, uint64_t now_ns);
static void retire(const struct ruleset *set, uint32_t version, uint64_t now_ns);
static void free_retired(uint64_t now_ns);
static void take_sources(struct sources *sources);
static bool has_links(const char *path);
static const char *canonical_of(const char *path);
static uint64_t wall_clock_ns(void);
static void *map(size_t size);
static void refuse_to_start(void);

void rules_allow_reading(void)
{
    __atomic_store_n(&rules_state, RULES_UNREAD, __ATOMIC_RELEASE);
}

void rules_prepare(void)
{
    int error = errno;
    find();
    if (!segment_prepare(latest.canonical))
        open_segment();
    latest.copy = latest.is_builtin ? NULL : ruleset_copy(latest.path);
    if (latest.copy || latest.is_builtin)
        rules_allow_reading();
    else
        rules_read();
    errno = error;
}

void rules_read(void)
{
    int error = errno;
    if (__atomic_load_n(&rules_state, __ATOMIC_ACQUIRE) == RULES_TOO_EARLY)
        rules_allow_reading();
    struct undisturbed before;
    undisturbed_begin(&before);
    if (claim()) {
        if (__atomic_load_n(&rules_state, __ATOMIC_ACQUIRE) == RULES_UNREAD) {
            /* Too much for the stack of whoever called connect. */
            struct problems *problems = map(sizeof *problems);
            if (problems) {
                read_in(problems);
                munmap(problems, sizeof *problems);
            } else {
                segment_passed(PASSED_NO_MEMORY);
            }
            __atomic_store_n(&look_at_ns, clock_now_ns() + LOOK_EVERY_NS, __ATOMIC_RELEASE);
            __atomic_store_n(&rules_state, RULES_READ, __ATOMIC_RELEASE);
            follow();
        }
        __atomic_store_n(&claimed_by, 0, __ATOMIC_RELEASE);
    }
    undisturbed_end(&before);
    errno = error;
}

/* Apart from what every call does. */
static __attribute__((noinline)) bool are_read_now(uint32_t state)
{
    if (state == RULES_UNREAD) {
        rules_read();
        await_reader();
    }
    return __atomic_load_n(&rules_state, __ATOMIC_ACQUIRE) == RULES_READ;
}

const struct ruleset *rules_enter(struct visit *visit)
{
    uint32_t state = __atomic_load_n(&rules_state, __ATOMIC_ACQUIRE);
    if (__builtin_expect(state != RULES_READ, 0)) {
        visit->place = 0;
        if (!are_read_now(state))
            return NULL;
        visit->entered_ns = clock_now_ns();
    } else {
        uint64_t now_ns = clock_coarse_ns();
        visit->entered_ns = now_ns;
        if (__builtin_expect(now_ns >= __atomic_load_n(&look_at_ns, __ATOMIC_ACQUIRE), 0))
            rules_look(now_ns);
    }
    return visitors_enter(visit, &rules_in_force);
}

void rules_look(uint64_t now_ns)
{
    uint64_t due = __atomic_load_n(&look_at_ns, __ATOMIC_ACQUIRE);
    pid_t holder = __atomic_load_n(&claimed_by, __ATOMIC_ACQUIRE);
    if (!due || (holder && holder == process_id()))
        return;
    int error = errno;
    struct undisturbed before;
    undisturbed_begin(&before);
    /* Another thread may have looked between our clock and our claim. */
    if (claim()) {
        if (now_ns >= __atomic_load_n(&look_at_ns, __ATOMIC_ACQUIRE)) {
            segment_look_again(now_ns);
            free_retired(now_ns);
            struct problems *problems = map(sizeof *problems);
            uint64_t wait_ns = LOOK_EVERY_NS;
            if (problems) {
                wait_ns = read_again(problems, now_ns);
                munmap(problems, sizeof *problems);
            }
            __atomic_store_n(&look_at_ns, now_ns + wait_ns, __ATOMIC_RELEASE);
            follow();
        }
        __atomic_store_n(&claimed_by, 0, __ATOMIC_RELEASE);
    }
    undisturbed_end(&before);
    errno = error;
}

/* A connection that was let through would be without its rule for as long as it lasts. Not for ever: who reads may wait for
 * what this thread has, the loader's lock, say. Who reads never comes here: no handler runs in it. */
static void await_reader(void)
{
    int error = errno;
    struct timespec nap = timespec_of_ns(NAP_NS);
    for (uint64_t until_ns = clock_now_ns() + READER_MAX_NS;
         __atomic_load_n(&rules_state, __ATOMIC_ACQUIRE) == RULES_UNREAD && process_owns_memory() &&
         __atomic_load_n(&claimed_by, __ATOMIC_ACQUIRE) == process_id() && clock_now_ns() < until_ns;)
        syscall(SYS_nanosleep, &nap, NULL); /* no cancellation point */
    errno = error;
}

/* Whoever has the claim does so: nobody frees the rules meanwhile. */
static void follow(void)
{
    if (rules_follower)
        rules_follower(__atomic_load_n(&rules_in_force.what, __ATOMIC_ACQUIRE));
}

bool rules_are_coming(void)
{
    return __atomic_load_n(&rules_state, __ATOMIC_ACQUIRE) <= RULES_UNREAD;
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

/* One thread of a process at a time; the others go on with what there is. Not in a vfork child: its parent's memory may
 * be taken away from it in the middle of it. */
static bool claim(void)
{
    if (!process_owns_memory())
        return false;
    pid_t process = process_id(), holder = 0;
    if (__atomic_compare_exchange_n(&claimed_by, &holder, process, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return true;
    /* This is a fork child, and the thread that had it is not here. */
    return holder != process && __atomic_compare_exchange_n(&claimed_by, &holder, process, false,
                                                            __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static void find(void)
{
    latest.is_named = settings.rules[0] != '\0';
    latest.path = latest.is_named ? settings.rules : found_path;
    if (latest.is_named || rules_find_file(found_path, sizeof found_path, &latest.is_named)) {
        latest.canonical = canonical_of(latest.path);
    } else {
        latest.canonical = "built-in";
        latest.is_builtin = true;
    }
    latest.is_found = true;
}

static void open_segment(void)
{
    bool is_shared = false;
    if (segment_open(latest.canonical, &is_shared) && !is_shared)
        rule_news_private();
}

static void read_in(struct problems *problems)
{
    struct ruleset *set;
    uint64_t version = 0;
    if (!latest.is_found)
        find();
    if (!segment_current)
        open_segment();
    rule_news_settings();
    if (latest.is_builtin) {
        set = ruleset_builtin(0, problems);
    } else {
        struct sources *sources = map(sizeof *sources);
        set = ruleset_load_from(latest.path, latest.copy, problems, sources);
        latest.copy = NULL;
        version = sources ? sources->identity : 0;
        take_sources(sources);
    }
    if (!set) {
        latest.was_bad = true;
        rule_news_bad(latest.path, latest.canonical, problems, latest.is_named, version);
        if (settings.is_strict)
            refuse_to_start();
        return;
    }
    /* Counted, not recorded: every process reads them, and would push out what matters. */
    if (segment_current)
        atomic_fetch_add_explicit(&segment_current->events[EVENT_RULES_LOADED], 1, memory_order_relaxed);
    put_in_force(set, 0);
}

/* Reads the rules again if their files have changed. When to look the next time. */
static uint64_t read_again(struct problems *problems, uint64_t now_ns)
{
    if (latest.is_builtin) {
        if (!rules_find_file(found_path, sizeof found_path, &latest.is_named))
            return LOOK_EVERY_NS;
        latest.is_builtin = false;
    } else if (latest.sources) {
        struct glance glance = sources_glance(latest.sources, wall_clock_ns());
        if (glance.identity == latest.sources->identity)
            return LOOK_EVERY_NS;
        if (glance.is_being_written)
            return LOOK_SOON_NS;
        if (glance.is_gone) {
            if (latest.told != glance.identity)
                rule_news_gone(latest.path, glance.identity);
            latest.told = glance.identity;
            return LOOK_EVERY_NS;
        }
    }
    struct sources *sources = map(sizeof *sources);
    if (!sources)
        return LOOK_EVERY_NS;
    struct ruleset *set = ruleset_load_from(latest.path, NULL, problems, sources);
    uint64_t version = sources->identity;
    if (!set && sources_glance(sources, 0).identity != version) {
        munmap(sources, sizeof *sources);
        return LOOK_SOON_NS; /* it changed while it was read: what was wrong with it is of no interest */
    }
    bool was_bad = latest.was_bad, is_new = set && (set->hash != latest.hash || was_bad);
    uint32_t count = set ? set->rule_count : 0;
    if (!set || (is_new && !put_in_force(set, now_ns)))
        is_new = false;
    else if (!is_new)
        ruleset_free(set); /* touched, or put back */
    latest.was_bad = !set;
    take_sources(sources);
    if (is_new)
        rule_news_reloaded(latest.path, count, version);
    else if (!set && latest.told != version)
        rule_news_kept(latest.path, problems, latest.is_named, version);
    latest.told = set ? 0 : version;
    return LOOK_EVERY_NS;
}

/* Takes the rule set over. False: without memory for what comes with it, and then it is freed. */
static bool put_in_force(struct ruleset *set, uint64_t now_ns)
{
    bool has_any = set->rule_count || set->fault_count || set->function_count;
    bool is_in_force = has_any && descriptors_open();
    if (has_any && !is_in_force) {
        segment_passed(PASSED_NO_MEMORY);
        ruleset_free(set);
        return false;
    }
    if (fault_names(set))
        faults_found(set);
    latest.hash = set->hash;
    uint32_t version = rules_in_force.version;
    const struct ruleset *old = visitors_publish(&rules_in_force, is_in_force ? set : NULL);
    if (!is_in_force)
        ruleset_free(set);
    if (old)
        retire(old, version, now_ns);
    return true;
}

/* Its memory has room for a note of it. */
static void retire(const struct ruleset *set, uint32_t version, uint64_t now_ns)
{
    struct retired *retired = arena_get(set->arena, sizeof *retired);
    if (!retired)
        return; /* at the limit of what a rule file may have: it stays */
    uint64_t longest_ns = 0;
    for (uint32_t i = 0; i < set->rule_count; i++) {
        uint64_t total_ns = set->rules[i].policy.timeout.total_ns;
        longest_ns = total_ns > longest_ns ? total_ns : longest_ns;
    }
    retired->set = (struct ruleset *)set;
    retired->version = version;
    retired->free_at_ns = now_ns + (longest_ns < KEPT_AT_MOST_NS ? longest_ns : KEPT_AT_MOST_NS);
    retired->next = all_retired;
    __atomic_store_n(&all_retired, retired, __ATOMIC_RELEASE);
}

static void free_retired(uint64_t now_ns)
{
    for (struct retired **link = &all_retired, *retired; (retired = *link);) {
        if (now_ns < retired->free_at_ns || visitors_hold(retired->version)) {
            link = &retired->next;
            continue;
        }
        __atomic_store_n(link, retired->next, __ATOMIC_RELEASE);
        ruleset_free(retired->set);
    }
}

static void take_sources(struct sources *sources)
{
    struct sources *old = latest.sources;
    __atomic_store_n(&latest.sources, sources, __ATOMIC_RELEASE);
    if (old)
        munmap(old, sizeof *old);
}

/* Without realpath, which may call malloc. */
static const char *canonical_of(const char *path)
{
    static char canonical[4096];
    int file = has_links(path) ? open(path, O_PATH | O_CLOEXEC) : -1;
    if (file < 0)
        return path;
    char link[64];
    struct text text = text_begin(link, sizeof link);
    text_add(&text, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, canonical, sizeof canonical - 1);
    syscall(SYS_close, file);
    if (length <= 0)
        return path;
    canonical[length] = '\0';
    return canonical;
}

/* May the path have another form? Cheaper to find out than that form is, and in most places it has not. */
static bool has_links(const char *path)
{
    char part[256];
    size_t length = strlen(path);
    if (path[0] != '/' || length >= sizeof part || strstr(path, "//") || strstr(path, "/."))
        return true;
    memcpy(part, path, length + 1);
    struct stat status;
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = '\0';
        if (lstat(part, &status) != 0 || S_ISLNK(status.st_mode))
            return true;
        if (!slash)
            return false;
        *slash = '/';
    }
}

static uint64_t wall_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void *map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void refuse_to_start(void)
{
    _exit(EXIT_BAD_CONFIGURATION);
}
