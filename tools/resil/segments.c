#include "segments.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "message.h"
#include "printable.h"
#include "rule_file.h"
#include "state/whereabouts.h"

static void tell_of_others(void);
static bool is_segment_name(const char *name);
static bool is_directory_ours(DIR *directory);
static void look_at(struct segments *segments, const char *name, const struct stat *status);
static const char *map(struct segment_file *file, const char *path, const struct stat *status,
                       bool is_writable);
static const char *what_is_foreign(const struct segment_file *file, const struct stat *status);
static void forget(struct segment_file *file);
static void end_on_cut(int number);

struct segments segments_begin(const char *rules)
{
    struct segments segments = {.count = 0};
    segment_directory(segments.directory, sizeof segments.directory);
    if (rules) {
        static struct rule_file file;
        static char canonical[PATH_MAX];
        rule_file_find(rules, &file);
        if (!file.is_built_in && access(file.path, F_OK) != 0)
            complain("%s: %s (showing what its programs may have left)", file.path, strerror(errno));
        rule_file_canonical(&file, canonical);
        segment_file_name(canonical, segments.only, sizeof segments.only);
    }
    /* A page that somebody cuts off while we read it is a SIGBUS. */
    signal(SIGBUS, end_on_cut);
    return segments;
}

void segments_scan(struct segments *segments)
{
    for (size_t i = 0; i < segments->count; i++)
        segments->files[i]->is_there = false;
    DIR *directory = opendir(segments->directory);
    segments->are_barred = directory ? !is_directory_ours(directory) : errno != ENOENT;
    if (directory && !segments->are_barred) {
        const struct dirent *entry;
        struct stat status;
        while ((entry = readdir(directory)))
            if (is_segment_name(entry->d_name) &&
                (!segments->only[0] || strcmp(entry->d_name, segments->only) == 0) &&
                fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0)
                look_at(segments, entry->d_name, &status);
    } else if (directory) {
        complain("%s is not read: it must belong to user %u, and nobody else may write it",
                 segments->directory, (unsigned)geteuid());
    } else if (segments->are_barred) {
        complain("%s cannot be read: %s", segments->directory, strerror(errno));
    }
    if (directory)
        closedir(directory);
    size_t kept = 0;
    for (size_t i = 0; i < segments->count; i++) {
        if (segments->files[i]->is_there)
            segments->files[kept++] = segments->files[i];
        else
            forget(segments->files[i]);
    }
    segments->count = kept;
}

size_t segments_readable(const struct segments *segments)
{
    size_t readable = 0;
    for (size_t i = 0; i < segments->count; i++)
        readable += segments->files[i]->segment != NULL;
    return readable;
}

void segments_end(struct segments *segments)
{
    for (size_t i = 0; i < segments->count; i++)
        forget(segments->files[i]);
    free(segments->files);
    *segments = (struct segments){.count = 0};
}

void segments_explain_nothing(const struct segments *segments)
{
    printf("Nothing is recorded in %s%s.\n", segments->directory,
           segments->only[0] ? " for these rules" : "");
    printf(
        "Programs of this user leave their state there when they run with libresil: resil run -- PROGRAM\n");
    if (getenv("RESIL_STATE_DIR"))
        return;
    printf("For those of another user, become that user; for those with RESIL_STATE_DIR, set it here "
           "too.\n");
    if (geteuid() == 0)
        tell_of_others();
}

/* Services mostly have users of their own, and nobody knows their numbers. */
static void tell_of_others(void)
{
    DIR *directory = opendir("/dev/shm");
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        unsigned user;
        char end;
        struct stat status;
        if (sscanf(entry->d_name, "resil-%u%c", &user, &end) != 1 || user == geteuid() ||
            fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISDIR(status.st_mode) || status.st_uid != user)
            continue;
        const struct passwd *known = getpwuid(user);
        printf("User %u%s%s%s has state there: setpriv --reuid %u --clear-groups resil status\n", user,
               known ? " (" : "", known ? known->pw_name : "", known ? ")" : "", user);
    }
    if (directory)
        closedir(directory);
}

/* "v1-" and hexadecimal digits. While a segment is being made its name has a dot. */
static bool is_segment_name(const char *name)
{
    size_t at = 1;
    if (name[0] != 'v' || strlen(name) >= sizeof((struct segment_file *)0)->name)
        return false;
    at += strspn(name + at, "0123456789");
    if (at == 1 || name[at++] != '-' || !name[at])
        return false;
    return name[at + strspn(name + at, "0123456789abcdef")] == '\0';
}

static bool is_directory_ours(DIR *directory)
{
    struct stat status;
    return fstat(dirfd(directory), &status) == 0 && status.st_uid == geteuid() && !(status.st_mode & 022);
}

static void look_at(struct segments *segments, const char *name, const struct stat *status)
{
    for (size_t i = 0; i < segments->count; i++) {
        struct segment_file *known = segments->files[i];
        if (strcmp(known->name, name) == 0 && known->device == status->st_dev &&
            known->inode == status->st_ino) {
            known->is_there = true;
            return;
        }
    }
    struct segment_file *file = allocate(sizeof *file);
    strcpy(file->name, name);
    file->device = status->st_dev;
    file->inode = status->st_ino;
    file->is_there = true;
    segments->files = grow(segments->files, (segments->count + 1) * sizeof *segments->files);
    segments->files[segments->count++] = file;
    char *path = formatted("%s/%s", segments->directory, name);
    const char *wrong = map(file, path, status, segments->are_writable);
    if (wrong)
        complain("%s is skipped: %s", path, wrong);
    free(path);
}

/* NULL, or why it is not fit to be read. */
static const char *map(struct segment_file *file, const char *path, const struct stat *status,
                       bool is_writable)
{
    char version[16];
    snprintf(version, sizeof version, "v%u-", SEGMENT_LAYOUT);
    if (strncmp(file->name, version, strlen(version)) != 0)
        return "it is from another version of libresil (that version's resil reads it)";
    if (!S_ISREG(status->st_mode))
        return "it is not a regular file";
    if (status->st_uid != geteuid() || status->st_mode & 022)
        return "others could have written it";
    struct segment *segment = segment_map(path, is_writable);
    file->segment = segment;
    file->writable = is_writable ? segment : NULL;
    if (!file->segment)
        return errno == EINVAL ? "it is damaged (programs that start replace it)" : strerror(errno);
    printable_field(file->rules, file->segment->header.rules, sizeof file->segment->header.rules);
    const char *foreign = what_is_foreign(file, status);
    if (foreign) {
        segment_unmap((struct segment *)file->segment);
        file->segment = file->writable = NULL;
    }
    return foreign;
}

/* Times and process ids mean nothing unless they are of this life of the machine and of our namespaces. */
static const char *what_is_foreign(const struct segment_file *file, const struct stat *status)
{
    char rules[513], name[64];
    struct whereabouts here;
    whereabouts_find(&here);
    if (!whereabouts_are_of_one_life(file->segment->header.boot_id, here.boot_id, status))
        return "it is from before the machine started (programs that start replace it)";
    memcpy(rules, file->segment->header.rules, sizeof file->segment->header.rules);
    rules[512] = '\0';
    segment_file_name(rules, name, sizeof name);
    bool is_cut = strlen(rules) >= 511;
    if (!is_cut && strcmp(name, file->name) != 0)
        return "it is of programs in another container, or damaged";
    return NULL;
}

static void forget(struct segment_file *file)
{
    if (file->segment)
        segment_unmap((struct segment *)file->segment);
    free(file);
}

static void end_on_cut(int number)
{
    static const char text[] = "resil: a file of shared state was cut short while it was read; try again\n";
    (void)number;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(STATUS_UNUSABLE);
    _exit(STATUS_UNUSABLE);
}
