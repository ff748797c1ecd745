/* The command line: finds the sub-command and hands over. */
#include <argp.h>
#include <errno.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "message.h"
#include "probe.h"
#include "rules/problems.h"
#include "state/process.h"

static const struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", "run a program with libresil", run_command},
    {"check", "find errors and bad habits in rule files", check_command},
    {"explain", "which rule a host gets, and where its values come from", explain_command},
    {"doctor", "what of a program libresil can reach, and whether it works here", doctor_command},
    {"status", "circuits, counters and events of the running programs", status_command},
    {"top", "the same on the whole terminal, as it changes, with keys to steer", top_command},
    {"log", "what happened, from the flight recorder", log_command},
    {"report", "one HTML page of what happened, and what it came to", report_command},
    {"metrics", "the same as figures for Prometheus, printed or served", metrics_command},
    {"breaker", "open, close, reset or give back circuits by hand", breaker_command},
    {"fault", "list faults, and switch them on and off", fault_command},
    {"enable", "have a service, or every program, run with libresil", enable_command},
    {"disable", "take that back", disable_command},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static const struct command *find(const char *name);
static int unknown(const char *name);
static int run(const struct command *command, int argc, char **argv);
static int help(int argc, char **argv);
static void print_help(FILE *to);
static int finish(int status);

int main(int argc, char **argv)
{
    /* Names and paths are UTF-8; everything else is as in C. */
    setlocale(LC_CTYPE, "C.UTF-8");
    argp_program_version = "resil " RESIL_VERSION;
    argp_err_exit_status = STATUS_UNUSABLE;
    process_begin(environ);
    if (argc < 2) {
        print_help(stderr);
        return STATUS_UNUSABLE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        puts(argp_program_version);
        return finish(STATUS_GOOD);
    }
    if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return help(argc - 2, argv + 2);
    if (strcmp(word, PROBE_WORD) == 0)
        return finish(probe_command(argc - 1, argv + 1));
    const struct command *command = find(word);
    return command ? run(command, argc - 1, argv + 1) : unknown(word);
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int unknown(const char *name)
{
    const char *names[COMMAND_COUNT + 2] = {NULL};
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        names[i] = commands[i].name;
    names[COMMAND_COUNT] = "help";
    const char *nearest = nearest_name(name, names);
    struct quoted shown = quote(name, strlen(name));
    if (nearest)
        complain("there is no command %s (did you mean %s?)", shown.text, nearest);
    else
        complain("there is no command %s (`resil help` lists all; to run a program: resil run PROGRAM)",
                 shown.text);
    return STATUS_UNUSABLE;
}

static int run(const struct command *command, int argc, char **argv)
{
    static char name[32];
    snprintf(name, sizeof name, "resil %s", command->name);
    argv[0] = name;
    message_begin(name);
    return finish(command->run(argc, argv));
}

static int help(int argc, char **argv)
{
    if (argc == 0) {
        print_help(stdout);
        return finish(STATUS_GOOD);
    }
    const struct command *command = find(argv[0]);
    static char help_option[] = "--help";
    char *arguments[] = {argv[0], help_option, NULL};
    return command ? run(command, 2, arguments) : unknown(argv[0]);
}

static void print_help(FILE *to)
{
    fprintf(to, "Usage: resil COMMAND [OPTION...] [ARGUMENT...]\n"
                "Timeouts, retries and circuit breakers for programs as they are.\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-8s  %s\n", commands[i].name, commands[i].summary);
    fprintf(to, "  %-8s  %s\n", "help", "how a command is used: resil help COMMAND");
    fprintf(to, "\nFirst steps:\n"
                "  resil run -- wget https://example.com/   with the rules in force, or the built-in ones\n"
                "  resil status                             what became of it\n");
}

/* Output that did not arrive is a failure, unless its reader has had enough. */
static int finish(int status)
{
    errno = 0;
    bool is_lost = ferror(stdout) != 0;
    if ((fflush(stdout) != 0 || is_lost) && errno != EPIPE) {
        complain("cannot write the output: %s", errno ? strerror(errno) : "an earlier write failed");
        return STATUS_UNUSABLE;
    }
    return status;
}
