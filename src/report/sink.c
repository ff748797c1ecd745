#include "report/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static enum { OFF, TO_STDERR, TO_FILE } destination;
static char file_path[1024];
static dev_t stderr_device;
static ino_t stderr_inode;
static bool has_stderr;

static bool write_once(int fd, const char *line, size_t length);

/* Raw system calls: the program's own write() may be hooked, by us among others. */
static long raw_close(int fd)
{
    return syscall(SYS_close, fd);
}

void sink_begin(const char *where)
{
    int error = errno;
    destination = OFF;
    if (strcmp(where, "stderr") == 0) {
        destination = TO_STDERR;
    } else if (where[0] && strcmp(where, "off") != 0 && strlen(where) < sizeof file_path) {
        memcpy(file_path, where, strlen(where) + 1);
        destination = TO_FILE;
    }
    struct stat status;
    if (fstat(STDERR_FILENO, &status) == 0) {
        stderr_device = status.st_dev;
        stderr_inode = status.st_ino;
        has_stderr = true;
    }
    errno = error;
}

bool sink_is_on(void)
{
    return destination != OFF;
}

bool sink_write(const char *line, size_t length)
{
    if (destination == OFF)
        return true;
    if (destination == TO_STDERR)
        return sink_write_stderr(line, length);
    int error = errno;
    long file = syscall(SYS_openat, AT_FDCWD, file_path,
                        O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    bool is_written = file >= 0 && write_once((int)file, line, length);
    if (file >= 0)
        raw_close((int)file);
    errno = error;
    return is_written;
}

bool sink_write_stderr(const char *line, size_t length)
{
    int error = errno;
    struct stat status;
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    struct timespec at_once = {0, 0};
    bool is_written = has_stderr && fstat(STDERR_FILENO, &status) == 0 && status.st_dev == stderr_device &&
                      status.st_ino == stderr_inode &&
                      syscall(SYS_ppoll, &ready, 1, &at_once, NULL, 0) == 1 && ready.revents & POLLOUT &&
                      write_once(STDERR_FILENO, line, length);
    errno = error;
    return is_written;
}

/* With SIGPIPE and SIGXFSZ (a file at the program's size limit) kept from the program: it would not have had them
 * without us. */
static bool write_once(int fd, const char *line, size_t length)
{
    if (length > PIPE_BUF)
        return false;
    sigset_t ours, before, pending;
    sigemptyset(&ours);
    sigaddset(&ours, SIGPIPE);
    sigaddset(&ours, SIGXFSZ);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &ours, &before);
    long written = syscall(SYS_write, fd, line, length);
    int raised = written >= 0 ? 0 : errno == EPIPE ? SIGPIPE : errno == EFBIG ? SIGXFSZ : 0;
    if (raised && !sigismember(&pending, raised)) {
        struct timespec at_once = {0, 0};
        sigemptyset(&ours);
        sigaddset(&ours, raised);
        while (sigtimedwait(&ours, NULL, &at_once) < 0 && errno == EINTR)
            ;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return written == (long)length;
}
