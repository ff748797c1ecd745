#include "canary.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "message.h"
#include "preload.h"
#include "preload_list.h"
#include "replace.h"
#include "scratch.h"

#define PATIENCE_S      20
#define NOBODY          65534
#define NO_STAGE_STATUS 97 /* the namespace could not be made */

/* What does the same each time, changes nothing, and is needed by those who would have to repair the machine. */
static const struct bird {
    bool is_nobody;
    const char *argv[4];
} birds[] = {
    {false, {"/bin/true"}},
    {false, {"/bin/sh", "-c", "echo well; exit 3"}},
    {false, {"/bin/ls", "-d", "/"}},
    {false, {"/bin/cat", "/proc/sys/kernel/ostype"}},
    {false, {"/usr/bin/env", "-i", "/bin/echo", "well"}},
    {false, {"/usr/bin/getent", "hosts", "127.0.0.1"}},
    {false, {"/bin/mount", "--version"}},
    {false, {"/lib/systemd/systemd", "--version"}},
    {false, {"/bin/systemctl", "--version"}},
    {false, {"/sbin/agetty", "--version"}},
    {false, {"/usr/bin/dpkg", "--version"}},
    {false, {"/usr/bin/rpm", "--version"}},
    {false, {"/usr/bin/perl", "-e", "print qq(well\\n)"}},
    {false, {"/usr/bin/python3", "-c", "print('well')"}},
    {false, {"/usr/bin/ssh", "-V"}},
    {false, {"/usr/bin/curl", "--version"}},
    {true, {"/bin/su", "--version"}},
    {true, {"/usr/bin/sudo", "-V"}},
    {true, {"/bin/mount", "--version"}},
};

enum how { BARE, LISTED, PRELOADED };
struct flight {
    int status;
    char said[8192];
};

static bool fly(const struct bird *bird, enum how how, const char *folder, const char *library,
                struct flight *flight);
static void take_off(const struct bird *bird, enum how how, const char *folder, const char *library,
                     int output);
static bool set_stage(const char *folder);
static void listen_to(int output, uint64_t until_ns, struct flight *flight);
static void wait_for_end(pid_t pid, uint64_t until_ns);
static char *difference(const struct bird *bird, const struct flight *bare, const struct flight *with);

struct canary canary_run(const char *list, const char *library)
{
    static struct flight bare, with;
    struct canary canary = {.is_exact = true};
    struct scratch scratch;
    if (!scratch_begin(&scratch)) {
        canary.difference =
            formatted("no folder for the canary can be made in TMPDIR or /tmp: %s", strerror(errno));
        return canary;
    }
    char *folder = formatted("%s/etc", scratch.path), *path = formatted("%s/ld.so.preload", folder);
    canary.is_exact = chmod(scratch.path, 0755) == 0 && mkdir(folder, 0755) == 0 && replace_file(path, list);
    for (size_t i = 0; i < sizeof birds / sizeof birds[0] && !canary.difference; i++) {
        if (access(birds[i].argv[0], X_OK) != 0 || !fly(&birds[i], BARE, folder, library, &bare))
            continue;
        bool has_flown = canary.is_exact && fly(&birds[i], LISTED, folder, library, &with);
        if (canary.is_exact && (!has_flown || (!canary.count && with.status == NO_STAGE_STATUS)))
            canary.is_exact = has_flown = false;
        if (!has_flown && !fly(&birds[i], PRELOADED, folder, library, &with))
            canary.difference = formatted("%s could not be started: %s", birds[i].argv[0], strerror(errno));
        else
            canary.difference = difference(&birds[i], &bare, &with);
        canary.count++;
    }
    free(folder);
    free(path);
    scratch_end(&scratch);
    return canary;
}

bool canary_lives(void)
{
    static struct flight flight;
    return fly(&birds[0], BARE, NULL, NULL, &flight) && flight.status == 0 &&
           !strstr(flight.said, "libresil");
}

/* False with errno set: it could not be started. */
static bool fly(const struct bird *bird, enum how how, const char *folder, const char *library,
                struct flight *flight)
{
    int ends[2];
    *flight = (struct flight){.status = -1};
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    pid_t pid = fork();
    if (pid == 0)
        take_off(bird, how, folder, library, ends[1]);
    int error = errno;
    close(ends[1]);
    if (pid > 0) {
        uint64_t until_ns = clock_now_ns() + PATIENCE_S * NS_PER_S;
        listen_to(ends[0], until_ns, flight);
        wait_for_end(pid, until_ns);
        kill(-pid, SIGKILL); /* it has ended, or hangs; and so what it left behind */
        while (waitpid(pid, &flight->status, 0) < 0 && errno == EINTR)
            ;
        if (WIFEXITED(flight->status))
            flight->status = WEXITSTATUS(flight->status);
    }
    close(ends[0]);
    errno = error;
    return pid > 0;
}

/* In the child. */
static void take_off(const struct bird *bird, enum how how, const char *folder, const char *library,
                     int output)
{
    static char home[] = "HOME=/nonexistent", path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                language[] = "LC_ALL=C";
    char *environment[] = {home, path, language, NULL, NULL};
    int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    setpgid(0, 0);
    if (how == LISTED && !set_stage(folder))
        _exit(NO_STAGE_STATUS);
    if (how == PRELOADED)
        environment[3] = formatted("LD_PRELOAD=%s", library);
    dup2(input, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    if (bird->is_nobody && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
        _exit(NO_STAGE_STATUS);
    execve(bird->argv[0], (char *const *)bird->argv, environment);
    _exit(errno == ENOENT ? 127 : 126);
}

/* /etc as it is, but for the list; in a namespace that goes with the child. */
static bool set_stage(const char *folder)
{
    char *layers = formatted("lowerdir=%s:/etc", folder);
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("overlay", "/etc", "overlay", MS_RDONLY, layers) == 0 && access(PRELOAD_LIST, R_OK) == 0;
}

static void wait_for_end(pid_t pid, uint64_t until_ns)
{
    struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    uint64_t now_ns = clock_now_ns();
    if (ended.fd < 0)
        return;
    if (now_ns < until_ns)
        poll(&ended, 1, (int)((until_ns - now_ns) / NS_PER_MS) + 1);
    close(ended.fd);
}

static void listen_to(int output, uint64_t until_ns, struct flight *flight)
{
    size_t length = 0;
    for (;;) {
        struct pollfd ready = {.fd = output, .events = POLLIN};
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= until_ns || poll(&ready, 1, (int)((until_ns - now_ns) / NS_PER_MS) + 1) < 0)
            return;
        if (!ready.revents)
            continue;
        char rest[1024];
        size_t room = sizeof flight->said - 1 - length;
        ssize_t count = room ? read(output, flight->said + length, room) : read(output, rest, sizeof rest);
        if (count <= 0)
            return;
        length += room ? (size_t)count : 0;
    }
}

static char *difference(const struct bird *bird, const struct flight *bare, const struct flight *with)
{
    if (bare->status == with->status && strcmp(bare->said, with->said) == 0)
        return NULL;
    char *words = formatted("%s%s%s%s%s", bird->argv[0], bird->argv[1] ? " " : "",
                            bird->argv[1] ? bird->argv[1] : "", bird->argv[1] && bird->argv[2] ? " " : "",
                            bird->argv[1] && bird->argv[2] ? bird->argv[2] : "");
    char *text =
        bare->status != with->status
            ? formatted("%s ends with status %d, and without libresil with %d", words, with->status,
                        bare->status)
            : formatted("%s says with libresil: %.*s", words, (int)strcspn(with->said, "\n"), with->said);
    free(words);
    return text;
}
