#include "attend.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const int handed_on[] = {SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH};
static const int from_terminal[] = {SIGINT, SIGQUIT}; /* the child gets these itself */
static volatile pid_t child;

static void hand_on(int signal)
{
    int error = errno;
    if (child > 0)
        kill(child, signal);
    errno = error;
}

int attend(char **program)
{
    int report[2], error = 0;
    if (pipe2(report, O_CLOEXEC) != 0)
        return -1;
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    child = fork();
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        execvp(program[0], program);
        error = errno;
        ssize_t written = write(report[1], &error, sizeof error);
        _exit(written == sizeof error ? 127 : 126);
    }
    close(report[1]);
    struct sigaction action = {.sa_handler = hand_on, .sa_flags = SA_RESTART};
    for (unsigned i = 0; i < sizeof handed_on / sizeof *handed_on; i++) {
        struct sigaction old;
        if (sigaction(handed_on[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(handed_on[i], &action, NULL);
    }
    for (unsigned i = 0; i < sizeof from_terminal / sizeof *from_terminal; i++)
        signal(from_terminal[i], SIG_IGN);
    sigprocmask(SIG_SETMASK, &before, NULL);
    int status = -1;
    bool has_failed = child < 0 || read(report[0], &error, sizeof error) == sizeof error;
    close(report[0]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (!has_failed)
        return status;
    errno = error ? error : errno;
    return -1;
}

int attend_end_alike(int status)
{
    if (!WIFSIGNALED(status))
        return WEXITSTATUS(status);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none); /* the core that there may be is the program's */
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
    return 128 + WTERMSIG(status);
}
