/* Rule files on disk: which are read, and how. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/arena.h"
#include "rules/reader.h"

/* The file is read by system calls of our own: in the shim open, read and close would be our hooks, and in libc they
 * are cancellation points, which would leave the descriptor and the memory behind. */
static int file_open(const char *path);
static bool is_passing(int error);
static bool file_is_fit(int fd, struct stat *status, struct file_identity *identity, struct refusal *refusal);
static char *file_read(int fd, const struct stat *status, struct arena *memory, size_t *size,
                       struct refusal *refusal);
static void refuse_opening(struct refusal *refusal, int error);
static void refuse(struct refusal *refusal, const char *format, ...) __attribute__((format(printf, 2, 3)));

char *file_text(const char *path, struct arena *memory, size_t *size, struct file_identity *identity,
                struct refusal *refusal)
{
    int saved_errno = errno;
    char *text = NULL;
    struct stat status;
    memset(identity, 0, sizeof *identity);
    int fd = file_open(path);
    /* Which version it is that cannot be opened is looked at before it is tried for good: one that comes in between then
     * looks like a change, and is read. So does any where there was no room to open it. */
    if (fd < 0 && !is_passing(errno) && stat(path, &status) == 0) {
        *identity = file_identity_of(&status);
        fd = file_open(path);
    }
    if (fd < 0)
        refuse_opening(refusal, errno);
    else if (file_is_fit(fd, &status, identity, refusal))
        text = file_read(fd, &status, memory, size, refusal);
    if (fd >= 0)
        syscall(SYS_close, fd);
    errno = saved_errno;
    return text;
}

static int file_open(const char *path)
{
    /* O_NONBLOCK: opening a FIFO must not wait for its writer. */
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

/* Nothing that is the matter with the file. */
static bool is_passing(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM;
}

static bool file_is_fit(int fd, struct stat *status, struct file_identity *identity, struct refusal *refusal)
{
    if (syscall(SYS_fstat, fd, status) != 0) {
        refuse_opening(refusal, errno);
        return false;
    }
    *identity = file_identity_of(status);
    if (!S_ISREG(status->st_mode))
        refuse(refusal, "is not a regular file");
    else if (status->st_uid != 0 && status->st_uid != geteuid())
        refuse(refusal, "belongs to user %u (it must belong to root or to user %u)", status->st_uid,
               geteuid());
    else if (status->st_mode & (S_IWGRP | S_IWOTH))
        refuse(refusal, "others can write it (chmod go-w FILE)");
    else if (status->st_size > (off_t)RULES_SIZE_MAX)
        refuse(refusal, "is larger than 4 MB");
    return !*refusal->text;
}

static char *file_read(int fd, const struct stat *status, struct arena *memory, size_t *size,
                       struct refusal *refusal)
{
    char *text = arena_get(memory, (size_t)status->st_size + 1);
    if (!text) {
        refuse(refusal, "no memory to read it");
        return NULL;
    }
    /* One byte more than there should be: a file that grows meanwhile is noticed. */
    *size = 0;
    while (*size <= (size_t)status->st_size) {
        long got = syscall(SYS_read, fd, text + *size, (size_t)status->st_size + 1 - *size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            refuse(refusal, "cannot be read (%s)", errno_name(errno));
            return NULL;
        }
        *size += (size_t)got;
        if (got == 0 || *size == (size_t)status->st_size)
            break; /* a regular file gives less than it was asked for at its end only */
    }
    /* Half of the old text and half of the new may well read as rules that nobody wrote. */
    struct stat after;
    if (*size == (size_t)status->st_size && syscall(SYS_fstat, fd, &after) == 0 &&
        after.st_size == status->st_size && after.st_mtim.tv_sec == status->st_mtim.tv_sec &&
        after.st_mtim.tv_nsec == status->st_mtim.tv_nsec)
        return text;
    refuse(refusal, "changed while it was read");
    return NULL;
}

static void refuse_opening(struct refusal *refusal, int error)
{
    const char *name = errno_name(error);
    const char *reason = error == ENOENT    ? "no such file"
                         : error == EACCES  ? "permission denied"
                         : error == ENOTDIR ? "a part of the path is not a directory"
                         : error == ENXIO   ? "not a regular file"
                         : error == ELOOP   ? "symbolic links that lead in a circle"
                         : name             ? name
                                            : "the system refuses";
    refuse(refusal, "cannot be opened: %s", reason);
}

static void refuse(struct refusal *refusal, const char *format, ...)
{
    struct text text = text_begin(refusal->text, sizeof refusal->text);
    va_list arguments;
    va_start(arguments, format);
    text_add_list(&text, format, arguments);
    va_end(arguments);
}
