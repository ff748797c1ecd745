/* Rule files on disk: which are read, and how. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/arena.h"
#include "rules/problems.h"

/* The file is read by system calls of our own: in the shim open, read and close would be our hooks, and in libc they
 * are cancellation points, which would leave the descriptor and the memory behind. */
static bool file_is_fit(int fd, struct problems *problems);
static char *file_read(int fd, struct arena *scratch, size_t *size, struct problems *problems);
static void complain_about_opening(struct problems *problems, int error);

struct ruleset *ruleset_load(const char *path, unsigned flags, struct problems *problems)
{
    int saved_errno = errno;
    memset(problems, 0, sizeof *problems);
    struct ruleset *set = NULL;
    struct arena *scratch = arena_open(RULES_SIZE_MAX + 4096);
    /* O_NONBLOCK: opening a FIFO must not wait for its writer. */
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (!scratch) {
        problem_add(problems, PROBLEM_ERROR, 0, 0, "no memory to read it");
    } else if (fd < 0) {
        complain_about_opening(problems, errno);
    } else if (file_is_fit(fd, problems)) {
        size_t size;
        char *text = file_read(fd, scratch, &size, problems);
        if (text)
            set = ruleset_parse(text, size, path, flags, problems);
    }
    if (fd >= 0)
        syscall(SYS_close, fd);
    arena_close(scratch);
    errno = saved_errno;
    return set;
}

static bool file_is_fit(int fd, struct problems *problems)
{
    struct stat status;
    if (syscall(SYS_fstat, fd, &status) != 0)
        complain_about_opening(problems, errno);
    else if (!S_ISREG(status.st_mode))
        problem_add(problems, PROBLEM_ERROR, 0, 0, "is not a regular file");
    else if (status.st_uid != 0 && status.st_uid != geteuid())
        problem_add(problems, PROBLEM_ERROR, 0, 0,
                    "belongs to user %u (it must belong to root or to user %u)", status.st_uid, geteuid());
    else if (status.st_mode & (S_IWGRP | S_IWOTH))
        problem_add(problems, PROBLEM_ERROR, 0, 0, "others can write it (chmod go-w FILE)");
    else if (status.st_size > (off_t)RULES_SIZE_MAX)
        problem_add(problems, PROBLEM_ERROR, 0, 0, "is larger than 4 MB");
    else
        return true;
    return false;
}

static char *file_read(int fd, struct arena *scratch, size_t *size, struct problems *problems)
{
    struct stat status;
    char *text = NULL;
    if (syscall(SYS_fstat, fd, &status) == 0 && status.st_size <= (off_t)RULES_SIZE_MAX)
        text = arena_get(scratch, (size_t)status.st_size + 1);
    if (!text) {
        problem_add(problems, PROBLEM_ERROR, 0, 0, "no memory to read it");
        return NULL;
    }
    /* One byte more than there should be: a file that grows meanwhile is noticed. */
    *size = 0;
    while (*size <= (size_t)status.st_size) {
        long got = syscall(SYS_read, fd, text + *size, (size_t)status.st_size + 1 - *size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            problem_add(problems, PROBLEM_ERROR, 0, 0, "cannot be read (%s)", errno_name(errno));
            return NULL;
        }
        if (got == 0)
            return text;
        *size += (size_t)got;
    }
    problem_add(problems, PROBLEM_ERROR, 0, 0, "changed while it was read");
    return NULL;
}

static void complain_about_opening(struct problems *problems, int error)
{
    const char *name = errno_name(error);
    const char *reason = error == ENOENT    ? "no such file"
                         : error == EACCES  ? "permission denied"
                         : error == ENOTDIR ? "a part of the path is not a directory"
                         : error == ENXIO   ? "not a regular file"
                         : name             ? name
                                            : "the system refuses";
    problem_add(problems, PROBLEM_ERROR, 0, 0, "cannot be opened: %s", reason);
}
