#include "state/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include "state/process.h"
#include "state/whereabouts.h"

#define LOOK_EVERY_NS   NS_PER_S
#define DIRECTORY_BYTES 1100
#define ASIDE_NAMES     8 /* so many may make the same segment at once */

struct segment *_Atomic segment_current;
_Atomic uint64_t segment_passed_before[PASSED_REASON_COUNT];

/* The file that is mapped. Changed by segment_open, and by whoever has drawn `look_at_ns`. */
static struct {
    struct whereabouts here;
    bool is_passed_on; /* what is said there of namespaces */
    dev_t device;
    ino_t inode;
    char path[DIRECTORY_BYTES + 64];
    const char *rules;
} opened;
static struct segment *prepared;    /* not looked into yet, and opened.here has no boot id; or NULL */
static _Atomic uint64_t look_at_ns; /* when to look again; 0: never, it is private */

static void name_here(const struct whereabouts *here, const char *rules_path, char *name, size_t capacity);
static struct segment *open_prepared(void);
static struct segment *open_shared(const char *rules_path, struct segment *at);
static void note_opened(const char *rules_path, const char *name);
static int open_directory(char path[DIRECTORY_BYTES]);
static int open_file(int directory, const char *name, struct stat *status, bool *is_wrong);
static struct segment *open_existing(int directory, const char *name, struct segment *at, bool *is_wrong);
static bool create(int directory, const char *name, const char *rules_path, bool may_replace);
static int open_aside(int directory, const char *name, char *aside, size_t capacity);
static bool is_named(int file, int directory, const char *name);
static bool fill(int file, const char *rules_path);
static struct segment *map_file(int file, const struct stat *status, bool is_writable, struct segment *at);
static struct segment *map_private(struct segment *at);
static bool is_from(const struct segment *segment, const struct whereabouts *here, const struct stat *status);

bool segment_open(const char *rules_path, bool *is_shared)
{
    int error = errno;
    struct segment *segment = open_prepared();
    if (!segment)
        segment = open_shared(rules_path, NULL);
    if (is_shared)
        *is_shared = segment != NULL;
    bool can_look = segment != NULL;
    if (!segment) {
        segment = map_private(NULL);
        if (segment)
            atomic_fetch_add_explicit(&segment->passed[PASSED_PRIVATE], 1, memory_order_relaxed);
    }
    errno = error;
    if (!segment)
        return false;
    atomic_store_explicit(&segment_current, segment, memory_order_release);
    for (unsigned reason = 0; reason < PASSED_REASON_COUNT; reason++) {
        uint64_t before = atomic_exchange_explicit(&segment_passed_before[reason], 0, memory_order_relaxed);
        if (before)
            atomic_fetch_add_explicit(&segment->passed[reason], before, memory_order_relaxed);
    }
    atomic_store_explicit(&look_at_ns, can_look ? clock_now_ns() + LOOK_EVERY_NS : 0, memory_order_release);
    return true;
}

/* The boot id is a file in /proc, which costs a tenth of what starting a small program does, and looking into the segment
 * a page fault: both are for those who go on to use it. */
bool segment_prepare(const char *rules_path)
{
    int error = errno;
    opened.is_passed_on = whereabouts_take(settings.namespaces, &opened.here);
    if (!opened.is_passed_on)
        whereabouts_find_namespaces(&opened.here);
    int directory = open_directory(opened.path);
    if (directory >= 0) {
        char name[64];
        struct stat status;
        bool is_wrong;
        name_here(&opened.here, rules_path, name, sizeof name);
        int file = open_file(directory, name, &status, &is_wrong);
        prepared = file >= 0 ? map_file(file, &status, true, NULL) : NULL;
        if (file >= 0)
            close(file);
        if (prepared) {
            note_opened(rules_path, name);
            opened.device = status.st_dev;
            opened.inode = status.st_ino;
        }
        close(directory);
    }
    errno = error;
    return prepared;
}

void segment_look_again(uint64_t now_ns)
{
    uint64_t due = atomic_load_explicit(&look_at_ns, memory_order_acquire);
    if (!due || now_ns < due)
        return;
    /* Not in a vfork child: it may be in the middle of it when its parent's memory is taken away from it. */
    if (!process_owns_memory() || !atomic_compare_exchange_strong(&look_at_ns, &due, now_ns + LOOK_EVERY_NS))
        return;
    int error = errno;
    struct segment *segment = segment_current;
    struct stat status;
    bool is_there = stat(opened.path, &status) == 0;
    bool is_same = is_there && status.st_dev == opened.device && status.st_ino == opened.inode;
    bool is_cut = is_same && status.st_size != (off_t)sizeof *segment;
    /* Where the path cannot be followed any more (chroot, another user) what is mapped is still good. */
    bool is_gone = is_there ? !is_same : errno == ENOENT;
    if (is_gone || is_cut || (is_same && !is_from(segment, &opened.here, &status))) {
        /* In the place of the old one: descriptors hold pointers into it, and behind the end of a file that was cut
         * short every access is a SIGBUS. */
        bool is_shared = open_shared(opened.rules, segment) != NULL;
        if (!is_shared && is_cut)
            map_private(segment);
        if (!is_shared)
            segment_passed(PASSED_PRIVATE);
    }
    errno = error;
}

struct segment *segment_map(const char *path, bool is_writable)
{
    int file = open(path, (is_writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0)
        return NULL;
    struct stat status;
    struct segment *segment = fstat(file, &status) == 0 ? map_file(file, &status, is_writable, NULL) : NULL;
    int error = errno;
    close(file);
    if (segment && (segment->header.magic != SEGMENT_MAGIC || segment->header.layout != SEGMENT_LAYOUT)) {
        segment_unmap(segment);
        segment = NULL;
        error = EINVAL;
    }
    errno = error;
    return segment;
}

void segment_unmap(struct segment *segment)
{
    munmap(segment, sizeof *segment);
}

void segment_directory(char *path, size_t capacity)
{
    struct text text = text_begin(path, capacity);
    if (settings.state_dir[0])
        text_add(&text, "%s", settings.state_dir);
    else
        text_add(&text, "/dev/shm/resil-%u", (unsigned)geteuid());
}

void segment_file_name(const char *rules_path, char *name, size_t capacity)
{
    struct whereabouts here;
    whereabouts_find(&here);
    name_here(&here, rules_path, name, capacity);
}

static void name_here(const struct whereabouts *here, const char *rules_path, char *name, size_t capacity)
{
    uint64_t hash =
        hash_bytes(rules_path, strlen(rules_path), here->pid_namespace ^ hash_mix(here->time_namespace));
    struct text text = text_begin(name, capacity);
    text_add(&text, "v%u-%lx", SEGMENT_LAYOUT, (unsigned long)hash);
}

/* NULL: nothing is, or it is not the right one after all. */
static struct segment *open_prepared(void)
{
    struct segment *segment = prepared;
    prepared = NULL;
    if (!segment)
        return NULL;
    struct whereabouts here;
    whereabouts_find(&here);
    if (!here.boot_id[0]) /* out of reach: then it was made in this life of the machine, or nobody can tell */
        memcpy(here.boot_id, segment->header.boot_id, sizeof here.boot_id);
    /* Those in which the program was started, wherever it has gone since; but what was passed on may have been another's. */
    if (!opened.is_passed_on || !here.pid_namespace)
        here.pid_namespace = opened.here.pid_namespace;
    if (!opened.is_passed_on || !here.time_namespace)
        here.time_namespace = opened.here.time_namespace;
    opened.here = here;
    if (is_from(segment, &here, NULL))
        return segment;
    segment_unmap(segment);
    return NULL;
}

/* `at`: the place that it shall have, NULL: anywhere. */
static struct segment *open_shared(const char *rules_path, struct segment *at)
{
    whereabouts_find(&opened.here);
    char path[DIRECTORY_BYTES], name[64];
    int directory = open_directory(at ? path : opened.path);
    if (directory < 0)
        return NULL;
    name_here(&opened.here, rules_path, name, sizeof name);
    struct segment *segment = NULL;
    /* Others may create or replace the file meanwhile; whoever comes second takes the first one's. */
    for (int tries = 0; !segment && tries < 4; tries++) {
        bool is_wrong = false;
        segment = open_existing(directory, name, at, &is_wrong);
        if (!segment && !create(directory, name, rules_path, is_wrong))
            break;
    }
    close(directory);
    if (segment && !at)
        note_opened(rules_path, name);
    return segment;
}

/* The directory stands there already. */
static void note_opened(const char *rules_path, const char *name)
{
    strcat(opened.path, "/");
    strcat(opened.path, name);
    opened.rules = rules_path;
}

/* Made if need be; refused if others could have put something there. */
static int open_directory(char path[DIRECTORY_BYTES])
{
    segment_directory(path, DIRECTORY_BYTES);
    int directory = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0 && errno == ENOENT) {
        mkdir(path, 0700); /* or somebody else has */
        directory = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (directory < 0)
        return -1;
    struct stat status;
    if (fstat(directory, &status) == 0 && status.st_uid == geteuid() && !(status.st_mode & 022))
        return directory;
    close(directory);
    return -1;
}

/* `is_wrong`: there is something of that name, and it is not for us. */
static int open_file(int directory, const char *name, struct stat *status, bool *is_wrong)
{
    int file = openat(directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    *is_wrong = file < 0 && errno != ENOENT;
    if (file < 0 || (fstat(file, status) == 0 && status->st_uid == geteuid() && !(status->st_mode & 022)))
        return file;
    *is_wrong = true;
    close(file);
    return -1;
}

static struct segment *open_existing(int directory, const char *name, struct segment *at, bool *is_wrong)
{
    struct stat status;
    int file = open_file(directory, name, &status, is_wrong);
    if (file < 0)
        return NULL;
    struct segment *segment = map_file(file, &status, true, NULL);
    bool is_good = segment && is_from(segment, &opened.here, &status);
    if (segment && (at || !is_good))
        segment_unmap(segment);
    if (is_good && at)
        segment = map_file(file, &status, true, at);
    close(file);
    *is_wrong = !is_good;
    if (!is_good || !segment)
        return NULL;
    opened.device = status.st_dev;
    opened.inode = status.st_ino;
    return segment;
}

/* False: it cannot be had. True: there is one now, ours or that of somebody who was quicker. */
static bool create(int directory, const char *name, const char *rules_path, bool may_replace)
{
    /* Beyond its file size limit the program would get a SIGXFSZ. */
    struct rlimit most;
    if (getrlimit(RLIMIT_FSIZE, &most) != 0 || most.rlim_cur < sizeof(struct segment))
        return false;
    char aside[128];
    int file = open_aside(directory, name, aside, sizeof aside);
    if (file < 0)
        return false;
    bool is_there = fill(file, rules_path) && (syscall(SYS_renameat2, directory, aside, directory, name,
                                                       may_replace ? 0 : 1 /* NOREPLACE */) == 0 ||
                                               errno == EEXIST);
    if (is_named(file, directory, aside))
        unlinkat(directory, aside, 0);
    close(file);
    return is_there;
}

/* A file beside the one to be made, locked. The kernel takes the lock from a process that is killed, so what it leaves
 * behind is used by the next one instead of piling up. */
static int open_aside(int directory, const char *name, char *aside, size_t capacity)
{
    for (unsigned number = 0; number < ASIDE_NAMES; number++) {
        struct text text = text_begin(aside, capacity);
        text_add(&text, "%s.%u", name, number);
        int file = openat(directory, aside, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (file < 0)
            continue;
        /* The one who had it may have put it in place before we got the lock. */
        if (flock(file, LOCK_EX | LOCK_NB) == 0 && is_named(file, directory, aside))
            return file;
        close(file);
    }
    return -1;
}

static bool is_named(int file, int directory, const char *name)
{
    struct stat by_file, by_name;
    return fstat(file, &by_file) == 0 && fstatat(directory, name, &by_name, AT_SYMLINK_NOFOLLOW) == 0 &&
           by_file.st_dev == by_name.st_dev && by_file.st_ino == by_name.st_ino;
}

static bool fill(int file, const char *rules_path)
{
    /* Every page now: one that a full tmpfs could not provide later would be a SIGBUS. */
    if (ftruncate(file, 0) != 0 || posix_fallocate(file, 0, sizeof(struct segment)) != 0)
        return false;
    struct stat status;
    struct segment *segment = fstat(file, &status) == 0 ? map_file(file, &status, true, NULL) : NULL;
    if (!segment)
        return false;
    memcpy(segment->header.boot_id, opened.here.boot_id, sizeof opened.here.boot_id);
    segment->header.pid_namespace = opened.here.pid_namespace;
    segment->header.time_namespace = opened.here.time_namespace;
    struct text path = text_begin(segment->header.rules, sizeof segment->header.rules);
    text_add(&path, "%s", rules_path);
    segment->header.layout = SEGMENT_LAYOUT;
    segment->header.size_bytes = sizeof *segment;
    segment->header.magic = SEGMENT_MAGIC;
    segment_unmap(segment);
    return true;
}

/* `at`: takes the place of what is mapped there. */
static struct segment *map_file(int file, const struct stat *status, bool is_writable, struct segment *at)
{
    if (!S_ISREG(status->st_mode) || status->st_size != (off_t)sizeof(struct segment)) {
        errno = EINVAL;
        return NULL;
    }
    void *memory = mmap(at, sizeof(struct segment), is_writable ? PROT_READ | PROT_WRITE : PROT_READ,
                        MAP_SHARED | (at ? MAP_FIXED : 0), file, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static struct segment *map_private(struct segment *at)
{
    void *memory = mmap(at, sizeof(struct segment), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0), -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* `status` of its file; NULL: that it was made in this life of the machine is believed where nobody can tell. */
static bool is_from(const struct segment *segment, const struct whereabouts *here, const struct stat *status)
{
    return segment->header.magic == SEGMENT_MAGIC && segment->header.layout == SEGMENT_LAYOUT &&
           segment->header.size_bytes == sizeof *segment &&
           whereabouts_are_of_one_life(segment->header.boot_id, here->boot_id, status) &&
           segment->header.pid_namespace == here->pid_namespace &&
           segment->header.time_namespace == here->time_namespace;
}
