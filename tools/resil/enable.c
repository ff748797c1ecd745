/* resil enable and disable: libresil for a service of systemd's, or for every program of the machine. */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "command.h"
#include "enable.h"
#include "message.h"
#include "preload.h"
#include "preload_list.h"
#include "probe.h"
#include "state/process.h"
#include "trusted.h"
#include "unit.h"

struct request {
    struct unit_request unit;
    bool is_system, is_all;
    bool is_back; /* disable */
};

static error_t parse_option(int key, char *argument, struct argp_state *state);
static bool may_change(void);
static int find_library(char library[PATH_MAX], char written[PATH_MAX]);
static bool is_proven(const char *library);

#define UNIT_OPTION                                                                                          \
    {                                                                                                        \
        "unit", 'u', "NAME", 0, "A service of systemd's", 0                                                  \
    }
#define SYSTEM_OPTION                                                                                        \
    {                                                                                                        \
        "system", 'S', NULL, 0, "Every program of this machine, by /etc/ld.so.preload", 0                    \
    }

static const struct argp_option enable_options[] = {
    UNIT_OPTION,
    SYSTEM_OPTION,
    {"rules", 'r', "FILE", 0, "With --unit: its rule file; else /etc/resil/rules.yaml, or the built-in rules",
     0},
    {"log", 'l', "WHERE", 0,
     "With --unit: where it logs: stderr (which is the journal), off, or a file; else stderr", 0},
    {0},
};
static const struct argp enable_parser = {
    .options = enable_options,
    .parser = parse_option,
    .args_doc = "--unit NAME|--system",
    .doc = "Has a service, or every program that starts from now on, run with libresil. Needs root. Nothing "
           "is changed "
           "where that would not be safe: where the library or a folder above it could be written by others "
           "than root, "
           "where the rules have errors, or where interception does not work here."
           "\v"
           "--unit writes " UNIT_FOLDER "/NAME.service.d/" UNIT_DROP_IN
           ". It takes effect when the service starts "
           "anew: systemctl daemon-reload && systemctl restart NAME. A unit that sets LD_PRELOAD itself is "
           "left alone.\n"
           "\n"
           "--system writes " PRELOAD_LIST
           ", which every program that is linked dynamically obeys, set-user-id ones too "
           "(in those libresil changes nothing). First some programs that a machine cannot do without are "
           "run with and "
           "without libresil, in a namespace where the file is as it would be; if one of them does anything "
           "else, nothing "
           "is changed. Programs get the rules of their user, else /etc/resil/rules.yaml, else the built-in "
           "ones. Taking "
           "it back: resil disable --system, or rm " PRELOAD_LIST ".\n"
           "\n"
           "Exit status: 0 done; 1 refused, with the reason; 2 wrong usage, or a file cannot be written; 72 "
           "libresil.so "
           "is not to be had; 78 errors in the rules.",
};

static const struct argp_option disable_options[] = {
    UNIT_OPTION,
    SYSTEM_OPTION,
    {"all", 'a', NULL, 0, "All that `resil enable` has done; fine if that is nothing", 0},
    {0},
};
static const struct argp disable_parser = {
    .options = disable_options,
    .parser = parse_option,
    .args_doc = "--unit NAME|--system|--all",
    .doc =
        "Takes back what `resil enable` did. Needs root. Programs that run already keep libresil until they "
        "end."
        "\v"
        "Exit status: 0 done; 1 it was not enabled, or refused; 2 wrong usage, or a file cannot be written.",
};

int enable_command(int argc, char **argv)
{
    static char library[PATH_MAX], written[PATH_MAX];
    struct request request = {.is_system = false};
    if (argp_parse(&enable_parser, argc, argv, 0, NULL, &request) != 0)
        return STATUS_UNUSABLE;
    if (!may_change())
        return STATUS_FOUND;
    int status = find_library(library, written);
    if (status)
        return status;
    if (!is_proven(written))
        return STATUS_FOUND;
    return request.is_system ? enable_system(written) : enable_unit(&request.unit, written);
}

int disable_command(int argc, char **argv)
{
    struct request request = {.is_back = true};
    if (argp_parse(&disable_parser, argc, argv, 0, NULL, &request) != 0)
        return STATUS_UNUSABLE;
    if (!may_change())
        return STATUS_FOUND;
    if (request.unit.name)
        return disable_unit(request.unit.name);
    int status = disable_system(request.is_system);
    if (request.is_all)
        status = disable_units() ? STATUS_UNUSABLE : status;
    return status;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    switch (key) {
    case 'u':
        request->unit.name = argument;
        return 0;
    case 'S':
        request->is_system = true;
        return 0;
    case 'a':
        request->is_all = true;
        return 0;
    case 'r':
        request->unit.rules = argument;
        return 0;
    case 'l':
        if (!process_is_log(argument) || strpbrk(argument, " \t\n\"'\\%"))
            argp_error(state, "--log: \"%s\" is neither stderr, off nor a path without blanks and quotes",
                       argument);
        request->unit.log = argument;
        return 0;
    case ARGP_KEY_END:
        if ((request->unit.name != NULL) + request->is_system + request->is_all != 1)
            argp_error(state, "say what: %s",
                       request->is_back ? "--unit NAME, --system or --all"
                                        : "either --unit NAME or --system");
        if (request->is_system && request->unit.rules)
            argp_error(state, "--rules is for a unit; all programs find theirs in /etc/resil/rules.yaml");
        if (request->is_system && request->unit.log)
            argp_error(state, "--log is for a unit; `resil log` has what all programs did");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool may_change(void)
{
    if (getauxval(AT_SECURE) || getuid() != geteuid())
        complain("this resil has privileges that its user does not have (setuid): it changes nothing");
    else if (geteuid() != 0)
        complain("only root may change what services or all programs load (sudo resil ...)");
    else
        return true;
    return false;
}

/* Where the library is, and how it is written: with $LIB where that leads to it, so that programs for another processor
 * find theirs. */
static int find_library(char library[PATH_MAX], char written[PATH_MAX])
{
    char found[PATH_MAX];
    int status = preload_find(found);
    if (status)
        return status;
    if (!realpath(found, library)) {
        complain("%s cannot be followed: %s", found, strerror(errno));
        return STATUS_NO_LIBRARY;
    }
    char *problem = trusted_problem(library);
    if (problem) {
        complain("refused: %s", problem);
        free(problem);
        return STATUS_FOUND;
    }
    static const char ending[] = "/" RESIL_LIBDIR "/libresil.so";
    size_t length = strlen(library), tail = strlen(ending);
    strcpy(written, library);
    if (length > tail && strcmp(library + length - tail, ending) == 0) {
        snprintf(written, PATH_MAX, "%.*s/$LIB/libresil.so", (int)(length - tail), library);
        if (!probe_run(written).is_loaded)
            strcpy(written, library);
    }
    return 0;
}

static bool is_proven(const char *library)
{
    struct probed probed = probe_run(library);
    if (!probed.has_run)
        complain("refused: a program of ours does not run with libresil here: %s", probed.problem);
    else if (!probed.is_loaded || (probed.has_loopback && !probed.is_judged))
        complain("refused: libresil %s (see: resil doctor true)",
                 probed.is_loaded ? "is loaded, and its rules have no effect here" : "is not loaded here");
    else
        return true;
    return false;
}
