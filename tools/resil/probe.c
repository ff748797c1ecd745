#include "probe.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "message.h"
#include "preload.h"
#include "scratch.h"

#define PATIENCE_MS 10000
#define JUDGED      EHOSTDOWN /* what no connect to loopback says by itself */

static int bind_silent(struct sockaddr_in *address);
static pid_t start(const char *library, const char *folder, int port, int *output);
static void read_report(int output, struct probed *probed);
static int ask(const struct sockaddr_in *address);

struct probed probe_run(const char *library)
{
    struct probed probed = {.has_run = false};
    struct scratch scratch = {.path = ""};
    struct sockaddr_in address;
    if (!scratch_begin(&scratch)) {
        snprintf(probed.problem, sizeof probed.problem, "no folder for it can be made in TMPDIR or /tmp: %s",
                 strerror(errno));
        return probed;
    }
    int holder = bind_silent(&address), output = -1;
    probed.has_loopback = holder >= 0;
    char *rules = formatted("%s/rules.yaml", scratch.path);
    FILE *file = fopen(rules, "we");
    if (file) {
        fprintf(
            file,
            "version: 1\nrules:\n  - name: probe\n    match: {address: 127.0.0.1, port: %d}\n    breaker: "
            "{failure_threshold: 1, failure_rate: off, recovery_timeout: 1h, error: EHOSTDOWN}\n",
            holder >= 0 ? ntohs(address.sin_port) : 1);
        fclose(file);
    }
    pid_t pid = start(library, scratch.path, holder >= 0 ? ntohs(address.sin_port) : 0, &output);
    if (pid > 0) {
        read_report(output, &probed);
        kill(pid, SIGKILL); /* it has ended, or hangs */
        int status = 0;
        waitpid(pid, &status, 0);
        if (!probed.has_run)
            snprintf(probed.problem, sizeof probed.problem,
                     WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL ? "it was killed by signal %d"
                                                                        : "it said nothing (status %d)",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        close(output);
    } else {
        snprintf(probed.problem, sizeof probed.problem, "it cannot be started: %s", strerror(errno));
    }
    if (holder >= 0)
        close(holder);
    free(rules);
    scratch_end(&scratch);
    return probed;
}

int probe_command(int argc, char **argv)
{
    int port = argc > 1 ? atoi(argv[1]) : 0;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    Dl_info where = {.dli_fname = NULL};
    void *first = dlsym(RTLD_DEFAULT, "connect");
    bool is_loaded = first && dladdr(first, &where) && where.dli_fname &&
                     preload_is_library(where.dli_fname, argc > 2 ? argv[2] : "");
    int refused = port ? ask(&address) : 0, judged = port ? ask(&address) : 0;
    printf("probe %d %d %d\n", is_loaded, refused, judged);
    return STATUS_GOOD;
}

/* A port that is ours, and on which nobody listens. */
static int bind_silent(struct sockaddr_in *address)
{
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof *address;
    int holder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (holder >= 0 && bind(holder, (struct sockaddr *)address, length) == 0 &&
        getsockname(holder, (struct sockaddr *)address, &length) == 0)
        return holder;
    if (holder >= 0)
        close(holder);
    return -1;
}

static pid_t start(const char *library, const char *folder, int port, int *output)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        char *rules = formatted("%s/rules.yaml", folder), *number = formatted("%d", port);
        dup2(ends[1], STDOUT_FILENO);
        preload_set(library);
        setenv("RESIL_RULES", rules, 1);
        setenv("RESIL_STATE_DIR", folder, 1);
        setenv("RESIL_LOG", "off", 1);
        execl("/proc/self/exe", "resil", PROBE_WORD, number, library, (char *)NULL);
        _exit(STATUS_NOT_EXECUTABLE);
    }
    close(ends[1]);
    if (pid < 0)
        close(ends[0]);
    *output = ends[0];
    return pid;
}

static void read_report(int output, struct probed *probed)
{
    char report[64] = "";
    int is_loaded = 0, refused = 0, judged = 0;
    struct pollfd ready = {.fd = output, .events = POLLIN};
    if (poll(&ready, 1, PATIENCE_MS) != 1 || read(output, report, sizeof report - 1) <= 0 ||
        sscanf(report, "probe %d %d %d", &is_loaded, &refused, &judged) != 3)
        return;
    probed->has_run = true;
    probed->is_loaded = is_loaded;
    probed->has_loopback &= refused == ECONNREFUSED;
    probed->is_judged = refused == ECONNREFUSED && judged == JUDGED;
}

/* The error of a connect; 0: it succeeded. */
static int ask(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
    if (fd >= 0)
        close(fd);
    return error;
}
