#include "state/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include "state/process.h"

struct segment *segment_current;

/* Where and in which life of the machine this process runs: times and process ids of others mean nothing to us unless
 * all of it agrees. */
struct whereabouts {
    char boot_id[40];
    uint64_t pid_namespace, time_namespace;
};

static struct segment *open_shared(const char *rules_path);
static int open_directory(void);
static struct segment *open_existing(int directory, const char *name, const struct whereabouts *here,
                                     bool *is_wrong);
static bool create(int directory, const char *name, const char *rules_path, const struct whereabouts *here,
                   bool may_replace);
static struct segment *map_file(int file, bool is_writable);
static void find_whereabouts(struct whereabouts *here);
static bool is_from(const struct segment *segment, const struct whereabouts *here);

bool segment_open(const char *rules_path, bool *is_shared)
{
    int error = errno;
    struct segment *segment = open_shared(rules_path);
    if (is_shared)
        *is_shared = segment != NULL;
    if (!segment) {
        segment = mmap(NULL, sizeof *segment, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (segment == MAP_FAILED)
            segment = NULL;
    }
    errno = error;
    if (!segment)
        return false;
    __atomic_store_n(&segment_current, segment, __ATOMIC_RELEASE);
    return true;
}

struct segment *segment_map(const char *path, bool is_writable)
{
    int file = open(path, (is_writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0)
        return NULL;
    struct segment *segment = map_file(file, is_writable);
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
    find_whereabouts(&here);
    uint64_t hash =
        hash_bytes(rules_path, strlen(rules_path), here.pid_namespace ^ hash_mix(here.time_namespace));
    struct text text = text_begin(name, capacity);
    text_add(&text, "v%u-%lx", SEGMENT_LAYOUT, (unsigned long)hash);
}

static struct segment *open_shared(const char *rules_path)
{
    struct whereabouts here;
    find_whereabouts(&here);
    int directory = open_directory();
    if (directory < 0)
        return NULL;
    char name[64];
    segment_file_name(rules_path, name, sizeof name);
    struct segment *segment = NULL;
    /* Others may create or replace the file meanwhile; whoever comes second takes the first one's. */
    for (int tries = 0; !segment && tries < 4; tries++) {
        bool is_wrong = false;
        segment = open_existing(directory, name, &here, &is_wrong);
        if (!segment && !create(directory, name, rules_path, &here, is_wrong))
            break;
    }
    close(directory);
    return segment;
}

/* Made if need be; refused if others could have put something there. */
static int open_directory(void)
{
    char path[1100];
    segment_directory(path, sizeof path);
    mkdir(path, 0700);
    int directory = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0)
        return -1;
    struct stat status;
    if (fstat(directory, &status) == 0 && status.st_uid == geteuid() && !(status.st_mode & 022))
        return directory;
    close(directory);
    return -1;
}

/* `is_wrong`: there is something of that name, and it is not for us. */
static struct segment *open_existing(int directory, const char *name, const struct whereabouts *here,
                                     bool *is_wrong)
{
    int file = openat(directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) {
        *is_wrong = errno != ENOENT;
        return NULL;
    }
    struct stat status;
    struct segment *segment = NULL;
    if (fstat(file, &status) == 0 && status.st_uid == geteuid() && !(status.st_mode & 022))
        segment = map_file(file, true);
    close(file);
    if (segment && is_from(segment, here))
        return segment;
    if (segment)
        segment_unmap(segment);
    *is_wrong = true;
    return NULL;
}

static bool create(int directory, const char *name, const char *rules_path, const struct whereabouts *here,
                   bool may_replace)
{
    /* Beyond its file size limit the program would get a SIGXFSZ. */
    struct rlimit most;
    if (getrlimit(RLIMIT_FSIZE, &most) != 0 || most.rlim_cur < sizeof(struct segment))
        return false;
    char aside[128];
    struct text text = text_begin(aside, sizeof aside);
    text_add(&text, "%s.%d.%lx", name, (int)getpid(), (unsigned long)clock_now_ns());
    int file = openat(directory, aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0)
        return false;
    /* Every page now: one that a full tmpfs could not provide later would be a SIGBUS. */
    struct segment *segment = NULL;
    if (posix_fallocate(file, 0, sizeof *segment) == 0)
        segment = map_file(file, true);
    close(file);
    bool is_there = false;
    if (segment) {
        memcpy(segment->header.boot_id, here->boot_id, sizeof here->boot_id);
        segment->header.pid_namespace = here->pid_namespace;
        segment->header.time_namespace = here->time_namespace;
        struct text path = text_begin(segment->header.rules, sizeof segment->header.rules);
        text_add(&path, "%s", rules_path);
        segment->header.layout = SEGMENT_LAYOUT;
        segment->header.size_bytes = sizeof *segment;
        segment->header.magic = SEGMENT_MAGIC;
        segment_unmap(segment);
        is_there = syscall(SYS_renameat2, directory, aside, directory, name,
                           may_replace ? 0 : 1 /* NOREPLACE */) == 0 ||
                   errno == EEXIST;
    }
    unlinkat(directory, aside, 0);
    return is_there;
}

static struct segment *map_file(int file, bool is_writable)
{
    struct stat status;
    if (fstat(file, &status) != 0)
        return NULL;
    if (!S_ISREG(status.st_mode) || status.st_size != (off_t)sizeof(struct segment)) {
        errno = EINVAL;
        return NULL;
    }
    void *memory = mmap(NULL, sizeof(struct segment), is_writable ? PROT_READ | PROT_WRITE : PROT_READ,
                        MAP_SHARED, file, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void find_whereabouts(struct whereabouts *here)
{
    memset(here, 0, sizeof *here);
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ssize_t got = read(file, here->boot_id, sizeof here->boot_id - 1);
        if (got > 0)
            here->boot_id[got] = '\0';
        close(file);
    }
    struct stat status;
    if (stat("/proc/self/ns/pid", &status) == 0)
        here->pid_namespace = status.st_ino;
    if (stat("/proc/self/ns/time", &status) == 0)
        here->time_namespace = status.st_ino;
}

static bool is_from(const struct segment *segment, const struct whereabouts *here)
{
    return segment->header.magic == SEGMENT_MAGIC && segment->header.layout == SEGMENT_LAYOUT &&
           segment->header.size_bytes == sizeof *segment &&
           memcmp(segment->header.boot_id, here->boot_id, sizeof here->boot_id) == 0 &&
           segment->header.pid_namespace == here->pid_namespace &&
           segment->header.time_namespace == here->time_namespace;
}
