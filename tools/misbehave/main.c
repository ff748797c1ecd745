/* A server that fails on purpose and counts what reached it, for the system tests and the demonstration. */

#include "connection.h"
#include "control.h"
#include "loop.h"
#include "mode.h"
#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Sent to us when the thread that started us ends, which need not be the end of its process. */
#define PARENT_SIGNAL SIGUSR1

struct settings {
    const char *address;
    const char *port_file;
    const char *control_path;
    struct mode *mode;
};

static pid_t parent;
static struct source signals;

static bool parse_arguments(struct settings *settings, int count, char **words, struct problem *problem);
static void print_help(void);
static bool start(const struct settings *settings, struct problem *problem);
static bool catch_signals(struct problem *problem);
static size_t most_connections(void);
static bool announce(const char *port_file, struct problem *problem);

int main(int argc, char **argv)
{
    struct problem problem;
    struct settings settings = {.address = "127.0.0.1:0"};
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        print_help();
        return 0;
    }
    parent = getppid();
    bool is_started = parse_arguments(&settings, argc - 1, argv + 1, &problem) && start(&settings, &problem);
    if (is_started)
        loop_run(control_check_waits);
    else
        fprintf(stderr, "misbehave: %s\n", problem.text);
    control_close();
    connections_end();
    server_close();
    if (signals.is_watched)
        loop_retire(&signals, NULL);
    loop_close();
    return is_started ? 0 : 2;
}

static bool parse_arguments(struct settings *settings, int count, char **words, struct problem *problem)
{
    int at = 0;
    for (; at < count && strncmp(words[at], "--", 2) == 0; at += 2) {
        const char **value = strcmp(words[at], "--listen") == 0      ? &settings->address
                             : strcmp(words[at], "--port-file") == 0 ? &settings->port_file
                             : strcmp(words[at], "--control") == 0   ? &settings->control_path
                                                                     : NULL;
        if (!value) {
            problem_say(
                problem,
                "unknown option '%.60s': before the mode there may be --listen ADDR:PORT, --port-file FILE, "
                "--control PATH; options of a mode come after it",
                words[at]);
            return false;
        }
        if (at + 1 == count) {
            problem_say(problem, "%s needs a value after it", words[at]);
            return false;
        }
        *value = words[at + 1];
    }
    settings->mode = mode_parse(count - at, words + at, problem);
    return settings->mode != NULL;
}

static void print_help(void)
{
    printf("Usage: misbehave [--listen ADDR:PORT] [--port-file FILE] [--control PATH] MODE [OPTIONS]\n"
           "A server that fails on purpose and counts what reached it. TCP; one mode at a time.\n"
           "\n"
           "  --listen ADDR:PORT      127.0.0.1:0 unless told otherwise; also [::1]:0. Port 0: the kernel "
           "chooses\n"
           "  --port-file FILE        the port is written there, too\n"
           "  --control PATH          makes a control socket (AF_UNIX) there, see below\n"
           "When ready it prints one line, `listening ADDR:PORT`. It ends, with status 0, at SIGTERM or "
           "SIGINT and\n"
           "when its parent process does; arguments it cannot use or a port it cannot have: status 2.\n"
           "\n%s\n%s",
           mode_help, control_help);
}

static bool start(const struct settings *settings, struct problem *problem)
{
    size_t most = most_connections();
    /* Whoever waits for the file must not find a former server's. */
    if (settings->port_file)
        unlink(settings->port_file);
    /* One timer for each connection and each control client, and two of the server's. */
    if (!loop_open(most + CONTROL_MOST_CLIENTS + 2, problem) || !catch_signals(problem) ||
        !server_open(settings->address, most, problem)) {
        mode_release(settings->mode);
        return false;
    }
    return server_switch(settings->mode, problem) &&
           (!settings->control_path || control_open(settings->control_path, problem)) &&
           announce(settings->port_file, problem);
}

static void signal_arrived(struct source *source, uint32_t events)
{
    (void)events;
    struct signalfd_siginfo info;
    if (read(source->fd, &info, sizeof info) != sizeof info)
        return;
    /* A thread pool's worker may start us and end while its process goes on. */
    if (info.ssi_signo == PARENT_SIGNAL && getppid() == parent)
        return;
    loop_stop();
}

static bool catch_signals(struct problem *problem)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, PARENT_SIGNAL);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    signals.ready = signal_arrived;
    if (signals.fd < 0 || !loop_watch(&signals, EPOLLIN)) {
        problem_say(problem, "cannot watch for signals: %s", strerror(errno));
        return false;
    }
    prctl(PR_SET_PDEATHSIG, PARENT_SIGNAL);
    /* It may have died before we asked to be told. */
    if (getppid() != parent)
        loop_stop();
    return true;
}

/* Raises the limit on descriptors as far as it goes. */
static size_t most_connections(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t own = CONTROL_MOST_CLIENTS + 32;
    if (limit.rlim_cur <= 2 * own)
        return 1;
    rlim_t most = limit.rlim_cur - own;
    return most < SERVER_MOST_CONNECTIONS ? (size_t)most : SERVER_MOST_CONNECTIONS;
}

static bool announce(const char *port_file, struct problem *problem)
{
    const struct listener *listener = server_listener();
    if (port_file) {
        /* Written beside and moved there: whoever finds the file finds a port in it. */
        char beside[4096];
        snprintf(beside, sizeof beside, "%s.%d", port_file, (int)getpid());
        FILE *file = fopen(beside, "w");
        bool is_written = file && fprintf(file, "%u\n", listener_port(listener)) > 0;
        if (file && fclose(file) != 0)
            is_written = false;
        if (!is_written || rename(beside, port_file) != 0) {
            problem_say(problem, "cannot write --port-file %.100s: %s", port_file, strerror(errno));
            unlink(beside);
            return false;
        }
    }
    char name[80];
    listener_print(listener, name, sizeof name);
    printf("listening %s\n", name);
    fflush(stdout);
    return true;
}
