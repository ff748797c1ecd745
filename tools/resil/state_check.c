#include "state_check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "message.h"
#include "state/segment.h"

char *state_problem(const char *canonical_rules)
{
    bool is_shared = false;
    char folder[1100];
    struct stat status;
    struct statvfs room;
    struct rlimit limit;
    if (segment_open(canonical_rules, &is_shared) && is_shared)
        return NULL;
    segment_directory(folder, sizeof folder);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return formatted("the state folder %s cannot be made: %s", folder, strerror(errno));
    if (lstat(folder, &status) != 0)
        return formatted("the state folder %s cannot be looked at: %s", folder, strerror(errno));
    if (!S_ISDIR(status.st_mode))
        return formatted("the state folder %s is %s", folder,
                         S_ISLNK(status.st_mode) ? "a symbolic link" : "not a folder");
    if (status.st_uid != geteuid())
        return formatted("the state folder %s belongs to user %u, not to user %u", folder,
                         (unsigned)status.st_uid, (unsigned)geteuid());
    if (status.st_mode & 022)
        return formatted("the state folder %s can be written by others (chmod go-w it)", folder);
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < sizeof(struct segment))
        return formatted("the file size limit (ulimit -f) is below the %zu KiB that shared state takes",
                         sizeof(struct segment) / 1024);
    if (statvfs(folder, &room) == 0 && (uint64_t)room.f_bavail * room.f_frsize < sizeof(struct segment))
        return formatted("the state folder %s has no room for the %zu KiB that shared state takes", folder,
                         sizeof(struct segment) / 1024);
    if (access(folder, W_OK | X_OK) != 0)
        return formatted("the state folder %s cannot be written: %s", folder, strerror(errno));
    return formatted("nothing can be made in the state folder %s", folder);
}
