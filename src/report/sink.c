#include "report/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "policy/sample.h"

/* Of one process: more than anybody reads, and few enough not to fill a disk while a host is down. */
#define LINES_PER_S 50

static enum { OFF, TO_STDERR, TO_FILE } destination;
static char file_path[1024];
static dev_t stderr_device;
static ino_t stderr_inode;
static bool has_stderr;
static _Atomic uint64_t lines; /* which of them are written (policy/sample.h) */

static bool write_file(const char *line, size_t length);
static bool is_kept_from_terminal(void);
static bool write_once(int fd, mode_t kind, const char *line, size_t length);
static long put(int fd, mode_t kind, const char *line, size_t length);

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

enum sunk sink_event(const struct event *event)
{
    if (destination == OFF)
        return SUNK_WRITTEN;
    struct sample_answer answer;
    uint64_t word = atomic_load_explicit(&lines, memory_order_relaxed);
    do
        answer = sample_take(word, LINES_PER_S, clock_now_ns());
    while (!atomic_compare_exchange_weak_explicit(&lines, &word, answer.word, memory_order_relaxed,
                                                  memory_order_relaxed));
    if (!answer.count)
        return SUNK_THINNED;
    char line[448];
    struct text text = text_begin(line, sizeof line - 1);
    if (destination == TO_FILE) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        uint64_t now_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
        text_add(&text, "%s %.*s[%u] ", time_text(now_ns).text, (int)sizeof event->program, event->program,
                 event->pid);
    } else {
        text_add(&text, "libresil: ");
    }
    event_say(event, &text);
    if (answer.count > 1)
        text_add(&text, " (%u lines before it were left out)", answer.count - 1);
    line[text.length++] = '\n';
    return sink_write(line, text.length) ? SUNK_WRITTEN : SUNK_LOST;
}

bool sink_write(const char *line, size_t length)
{
    return destination == OFF || (destination == TO_FILE ? write_file : sink_write_stderr)(line, length);
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
                      !(S_ISCHR(status.st_mode) && is_kept_from_terminal()) &&
                      write_once(STDERR_FILENO, status.st_mode, line, length);
    errno = error;
    return is_written;
}

/* Opened for this line only: nothing is kept from the program, and a file that was moved away is made anew. */
static bool write_file(const char *line, size_t length)
{
    int error = errno;
    long file = syscall(SYS_openat, AT_FDCWD, file_path,
                        O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
    bool is_written = file >= 0 && write_once((int)file, S_IFREG, line, length);
    if (file >= 0)
        raw_close((int)file);
    errno = error;
    return is_written;
}

/* Whoever has said `stty tostop` does not want to read what programs in the background write; SIGTTOU would stop ours. */
static bool is_kept_from_terminal(void)
{
    struct termios terminal;
    pid_t foreground = tcgetpgrp(STDERR_FILENO);
    return foreground >= 0 && foreground != getpgrp() && tcgetattr(STDERR_FILENO, &terminal) == 0 &&
           terminal.c_lflag & TOSTOP;
}

/* With SIGPIPE, SIGXFSZ (a file at the program's size limit) and SIGTTOU kept from the program: it would not have had
 * them without us. */
static bool write_once(int fd, mode_t kind, const char *line, size_t length)
{
    if (length > PIPE_BUF)
        return false;
    sigset_t ours, before, pending;
    sigemptyset(&ours);
    sigaddset(&ours, SIGPIPE);
    sigaddset(&ours, SIGXFSZ);
    sigaddset(&ours, SIGTTOU);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &ours, &before);
    long written = put(fd, kind, line, length);
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

/* There was room when it was looked; another process may have used it since, so nothing may wait for more. */
static long put(int fd, mode_t kind, const char *line, size_t length)
{
    if (S_ISSOCK(kind))
        return syscall(SYS_sendto, fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
    if (S_ISFIFO(kind)) {
        struct iovec part = {(void *)(uintptr_t)line, length};
        long written = syscall(SYS_pwritev2, fd, &part, 1, -1L, -1L, RWF_NOWAIT);
        if (written >= 0 || errno != EOPNOTSUPP)
            return written;
    }
    return syscall(SYS_write, fd, line, length);
}
