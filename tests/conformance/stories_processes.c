/* Sockets that outlive a fork, a vfork child, an exec or a spawn. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conform.h"

extern char **environ;
extern pid_t __vfork(void);
extern ssize_t __read_chk(int fd, void *data, size_t size, size_t room);
extern ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags);
extern ssize_t __recvfrom_chk(int fd, void *data, size_t size, size_t room, int flags,
                              struct sockaddr *address, socklen_t *length);
static const char *self_path;

static void say_times(int fd)
{
    static const int options[] = {SO_RCVTIMEO, SO_SNDTIMEO};
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        struct timeval value = {-1, -1};
        socklen_t length = sizeof value;
        CALL("time", getsockopt(fd, SOL_SOCKET, options[i], &value, &length));
        say("(%ld.%06ld)", (long)value.tv_sec, (long)value.tv_usec);
    }
}

static void use(int fd)
{
    char data[64];
    int type = 0;
    socklen_t length = sizeof type;
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
    CALL("send", send(fd, "ask", 3, MSG_NOSIGNAL));
    CALL("recv", recv(fd, data, sizeof data, type == SOCK_STREAM ? 0 : MSG_WAITALL)); /* a message is whole */
    say_poll_of(fd);
}

static void use_in_child(struct ends *ends)
{
    say_times(ends->fd);
    use(ends->fd);
    CALL("close", close(ends->fd));
}

/* libc ends a program that would write beyond its buffer, before it receives anything. What it says of that is not
 * compared. */
static void prepare_to_abort(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    setenv("LIBC_FATAL_STDERR_", "1", 1);
    dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
    line_flush();
}

static void read_beyond_room(struct ends *ends)
{
    char data[64];
    prepare_to_abort();
    CALL("read", __read_chk(ends->fd, data, sizeof data, sizeof data - 1));
}

static void recv_beyond_room(struct ends *ends)
{
    char data[64];
    prepare_to_abort();
    CALL("recv", __recv_chk(ends->fd, data, sizeof data, sizeof data - 1, 0));
}

static void recvfrom_beyond_room(struct ends *ends)
{
    char data[64];
    prepare_to_abort();
    CALL("recvfrom", __recvfrom_chk(ends->fd, data, sizeof data, sizeof data - 1, 0, NULL, NULL));
}

static void wait_then_feed(struct ends *ends)
{
    char data[8];
    recv(ends->peer, data, 3, MSG_WAITALL);
    pause_ms(5);
    feed(ends, 20, 1);
}

static void close_all_in_child(struct ends *ends)
{
    CALL("close_range", close_range(3, ~0u, 0));
    CALL("write", write(ends->fd, "x", 1));
}

/* As python's subprocess does it: close and dup in a child that shares the parent's memory. */
static int close_all(void *context)
{
    const struct ends *ends = context;
    close(ends->fd);
    dup2(2, ends->fd);
    close_range(3, ~0u, 0);
    _exit(7);
}

static void share_and_close(struct ends *ends, const char *way)
{
    static _Alignas(16) char stack[64 << 10];
    pid_t child;
    if (strcmp(way, "clone") == 0) {
        child = clone(close_all, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, ends);
    } else {
        child = strcmp(way, "vfork") == 0 ? vfork() : __vfork();
        if (child == 0)
            close_all(ends);
    }
    int status;
    waitpid(child, &status, 0);
    say(" status=%x", (unsigned)status);
}

static void vfork_and_exec(struct ends *ends)
{
    char number[16];
    snprintf(number, sizeof number, "%d", ends->fd);
    char *const arguments[] = {(char *)"conform", (char *)"--became", (char *)"using", number, NULL};
    line_flush();
    pid_t child = vfork();
    if (child == 0) {
        execve(self_path, arguments, environ);
        _exit(7);
    }
    wait_then_feed(ends);
    int status;
    waitpid(child, &status, 0);
    say(" status=%x", (unsigned)status);
}

/* Becomes another by the function of that name. */
static void exec_by(const char *function, char *name, char *number)
{
    char *arguments[] = {name, (char *)"--became", (char *)"using", number, NULL};
    const char *path = "/proc/self/exe";
    if (strcmp(function, "execl") == 0)
        execl(path, name, "--became", "using", number, (char *)NULL);
    else if (strcmp(function, "execle") == 0)
        execle(path, name, "--became", "using", number, (char *)NULL, environ);
    else if (strcmp(function, "execlp") == 0)
        execlp(path, name, "--became", "using", number, (char *)NULL);
    else if (strcmp(function, "execv") == 0)
        execv(path, arguments);
    else if (strcmp(function, "execve") == 0)
        execve(path, arguments, environ);
    else if (strcmp(function, "execvp") == 0)
        execvp(path, arguments);
    else if (strcmp(function, "execvpe") == 0)
        execvpe(path, arguments, environ);
    else if (strcmp(function, "fexecve") == 0)
        fexecve(open(path, O_RDONLY | O_CLOEXEC), arguments, environ);
    else if (strcmp(function, "execveat") == 0)
        execveat(open(path, O_PATH | O_CLOEXEC), "", arguments, environ, AT_EMPTY_PATH);
}

/* The process that was execed tells what it has: argv is self, --became, WHAT, FD. */
int became_another(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[2] : "";
    int fd = argc > 3 ? atoi(argv[3]) : -1;
    if (strcmp(what, "connecting") ==
        0) { /* a process of its own, not a fork child: it connects, and execs */
        struct ends ends;
        listeners_open();
        ends_open(&ends, TCP4, BLOCKING, INWARD, false);
        send(ends.fd, "ask", 3, MSG_NOSIGNAL);
        feed(&ends, 20, 2);
        char number[16];
        snprintf(number, sizeof number, "%d", ends.fd);
        CALL("failing", execl("/nowhere", "nowhere", (char *)NULL));
        say_times(ends.fd);
        line_flush();
        exec_by(argc > 3 ? argv[3] : "execl", argv[0], number);
        return 1;
    }
    say_times(fd);
    CALL("fl", fcntl(fd, F_GETFL));
    use(fd);
    line_flush();
    return 0;
}

static void exec_in_child(struct ends *ends)
{
    char number[16];
    snprintf(number, sizeof number, "%d", ends->fd);
    execl(self_path, "conform", "--became", "using", number, (char *)NULL);
}

static void exec_in_child_with_path(struct ends *ends)
{
    char number[16];
    snprintf(number, sizeof number, "%d", ends->fd);
    execve(self_path, (char *[]){(char *)"conform", (char *)"--became", (char *)"using", number, NULL},
           environ);
}

static void exec_of_its_own(struct ends *ends)
{
    (void)ends;
    execlp(self_path, "conform", "--became", "connecting", (char *)NULL);
}

#define OF_ITS_OWN_BY(function)                                                                              \
    static void function##_of_its_own(struct ends *ends)                                                     \
    {                                                                                                        \
        (void)ends;                                                                                          \
        execlp(self_path, "conform", "--became", "connecting", #function, (char *)NULL);                     \
    }
OF_ITS_OWN_BY(execle)
OF_ITS_OWN_BY(execlp)
OF_ITS_OWN_BY(execv)
OF_ITS_OWN_BY(execve)
OF_ITS_OWN_BY(execvp)
OF_ITS_OWN_BY(execvpe)
OF_ITS_OWN_BY(fexecve)
OF_ITS_OWN_BY(execveat)

static void spawn_by(int (*spawn)(pid_t *, const char *, const posix_spawn_file_actions_t *,
                                  const posix_spawnattr_t *, char *const *, char *const *),
                     struct ends *ends)
{
    char number[16];
    snprintf(number, sizeof number, "%d", 100);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends->fd, 100);
    pid_t child;
    int status;
    CALL("spawn",
         spawn(&child, self_path, &actions, NULL,
               (char *[]){(char *)"conform", (char *)"--became", (char *)"using", number, NULL}, environ));
    waitpid(child, &status, 0); /* what it says comes first, and this process's with the next flush */
    say(" status=%x", (unsigned)status);
    CALL("no such", spawn(&child, "/nowhere/at/all", NULL, NULL, (char *[]){number, NULL}, environ));
}

static void spawn_in_child(struct ends *ends)
{
    spawn_by(posix_spawn, ends);
}

static void spawnp_in_child(struct ends *ends)
{
    spawn_by(posix_spawnp, ends);
}

static const struct {
    const char *name;
    void (*in_child)(struct ends *ends);
    void (*meanwhile)(struct ends *ends);
} stories[] = {
    {"fork_uses", use_in_child, wait_then_feed},         {"read_beyond_room", read_beyond_room, NULL},
    {"recv_beyond_room", recv_beyond_room, NULL},        {"recvfrom_beyond_room", recvfrom_beyond_room, NULL},
    {"fork_closes_all", close_all_in_child, NULL},       {"exec", exec_in_child, wait_then_feed},
    {"execve", exec_in_child_with_path, wait_then_feed}, {"exec_of_its_own", exec_of_its_own, NULL},
    {"execle_of_its_own", execle_of_its_own, NULL},      {"execlp_of_its_own", execlp_of_its_own, NULL},
    {"execv_of_its_own", execv_of_its_own, NULL},        {"execve_of_its_own", execve_of_its_own, NULL},
    {"execvp_of_its_own", execvp_of_its_own, NULL},      {"execvpe_of_its_own", execvpe_of_its_own, NULL},
    {"fexecve_of_its_own", fexecve_of_its_own, NULL},    {"execveat_of_its_own", execveat_of_its_own, NULL},
    {"spawn", spawn_in_child, wait_then_feed},           {"spawnp", spawnp_in_child, wait_then_feed},
};

static void afterwards(struct ends *ends)
{
    say(" then");
    say_times(ends->fd);
    feed(ends, 20, 3);
    use(ends->fd);
    ends_close(ends);
}

void stories_processes(const char *self)
{
    self_path = self;
    static const enum kind kinds[] = {TCP4, UNIX_STREAM, UDP4, UNIX_SEQPACKET};
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (int has_own = 0; has_own < 2; has_own++) {
            struct timeval own = {9, 0};
            struct ends ends;
            for (size_t s = 0; s < COUNT_OF(stories); s++)
                if (cell_begin("process %s %s%s", kind_names[kinds[k]], stories[s].name,
                               has_own ? " own" : "")) {
                    ends_open(&ends, kinds[k], BLOCKING, INWARD, false);
                    if (has_own)
                        setsockopt(ends.fd, SOL_SOCKET, SO_RCVTIMEO, &own, sizeof own);
                    say_from_child(stories[s].in_child, &ends, stories[s].meanwhile);
                    afterwards(&ends);
                    cell_end();
                }
            static const char *const sharing[] = {"vfork", "__vfork", "clone"};
            for (size_t s = 0; s < COUNT_OF(sharing); s++)
                if (cell_begin("process %s %s%s", kind_names[kinds[k]], sharing[s], has_own ? " own" : "")) {
                    ends_open(&ends, kinds[k], BLOCKING, INWARD, false);
                    if (has_own)
                        setsockopt(ends.fd, SOL_SOCKET, SO_RCVTIMEO, &own, sizeof own);
                    share_and_close(&ends, sharing[s]);
                    afterwards(&ends);
                    cell_end();
                }
            if (cell_begin("process %s vfork_execs%s", kind_names[kinds[k]], has_own ? " own" : "")) {
                ends_open(&ends, kinds[k], BLOCKING, INWARD, false);
                if (has_own)
                    setsockopt(ends.fd, SOL_SOCKET, SO_RCVTIMEO, &own, sizeof own);
                vfork_and_exec(&ends);
                afterwards(&ends);
                cell_end();
            }
        }
}
