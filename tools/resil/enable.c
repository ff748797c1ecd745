/* resil enable and disable: libresil for a service of systemd's, or for every program of the machine. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "canary.h"
#include "command.h"
#include "doubts.h"
#include "message.h"
#include "preload.h"
#include "preload_list.h"
#include "probe.h"
#include "replace.h"
#include "rule_file.h"
#include "state/process.h"
#include "trusted.h"
#include "unit.h"

struct request {
    const char *unit, *rules, *log;
    bool is_system, is_all;
};

static error_t parse_option(int key, char *argument, struct argp_state *state);
static bool may_change(void);
static int find_library(char library[PATH_MAX], char written[PATH_MAX]);
static bool is_proven(const char *library);
static int check_rules(const struct request *request, char rules[PATH_MAX]);
static int enable_unit(const struct request *request, const char *library);
static int check_program(const struct unit *unit);
static bool make_folder_of(const char *path);
static void remove_drop_in(const char *path);
static int enable_system(const char *library);
static char *read_list(void);
static int put_list(const char *before, const char *list);
static int disable_unit(const char *word);
static int disable_system(bool must_be_there);
static void disable_found(const char *path, void *data);

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
    struct request request = {.unit = NULL};
    if (argp_parse(&enable_parser, argc, argv, 0, NULL, &request) != 0)
        return STATUS_UNUSABLE;
    if (!may_change())
        return STATUS_FOUND;
    int status = find_library(library, written);
    if (status)
        return status;
    if (!is_proven(written))
        return STATUS_FOUND;
    return request.is_system ? enable_system(written) : enable_unit(&request, written);
}

int disable_command(int argc, char **argv)
{
    struct request request = {.unit = NULL};
    if (argp_parse(&disable_parser, argc, argv, 0, NULL, &request) != 0)
        return STATUS_UNUSABLE;
    if (!may_change())
        return STATUS_FOUND;
    if (request.unit)
        return disable_unit(request.unit);
    int status = disable_system(request.is_system);
    if (request.is_all)
        unit_drop_ins(disable_found, &status);
    return status;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    switch (key) {
    case 'u':
        request->unit = argument;
        return 0;
    case 'S':
        request->is_system = true;
        return 0;
    case 'a':
        request->is_all = true;
        return 0;
    case 'r':
        request->rules = argument;
        return 0;
    case 'l':
        if (!process_is_log(argument) || strpbrk(argument, " \t\n\"'\\%"))
            argp_error(state, "--log: \"%s\" is neither stderr, off nor a path without blanks and quotes",
                       argument);
        request->log = argument;
        return 0;
    case ARGP_KEY_END:
        if ((request->unit != NULL) + request->is_system + request->is_all != 1)
            argp_error(state, "say what: either --unit NAME or --system%s",
                       state->root_argp == &disable_parser ? " or --all" : "");
        if (request->is_system && request->rules)
            argp_error(state, "--rules is for a unit; all programs find theirs in /etc/resil/rules.yaml");
        if (request->is_system && request->log)
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

/* The rule file of a unit, absolute; empty: none is named. 0 or the exit status. */
static int check_rules(const struct request *request, char rules[PATH_MAX])
{
    static const char usual[] = "/etc/resil/rules.yaml";
    static struct rule_file file;
    struct problems problems;
    struct stat status;
    rules[0] = '\0';
    const char *path = request->rules ? request->rules : access(usual, F_OK) == 0 ? usual : NULL;
    if (!path)
        return 0;
    if (request->rules && (!path_make_absolute(path, rules) || strpbrk(rules, " \t\n\"'\\%"))) {
        complain("--rules: %s is no path that can stand in a unit (no blanks, quotes or percent signs)",
                 path);
        return STATUS_UNUSABLE;
    }
    snprintf(file.path, sizeof file.path, "%s", path);
    struct ruleset *set = rule_file_load(&file, &problems);
    if (!set) {
        problems_print(path, &problems, false, stderr);
        complain("refused: the rules cannot be used (see: resil check %s)", path);
        return STATUS_BAD_RULES;
    }
    ruleset_free(set);
    if (stat(path, &status) != 0 || status.st_uid != 0 || status.st_mode & 022) {
        complain(
            "refused: %s must belong to root and be writable by nobody else, or the service will not read it",
            path);
        return STATUS_FOUND;
    }
    if (!(status.st_mode & S_IROTH))
        complain("note: %s cannot be read by all; the user that the service runs as must be able to", path);
    return 0;
}

static int enable_unit(const struct request *request, const char *library)
{
    static struct unit unit;
    static char rules[PATH_MAX];
    if (!unit_name(request->unit, &unit)) {
        complain("\"%s\" is no name of a service", request->unit);
        return STATUS_UNUSABLE;
    }
    if (!unit_find(&unit)) {
        complain("there is no service %s (systemctl list-unit-files '*.service' lists all)", unit.name);
        return STATUS_FOUND;
    }
    char *place = unit_preload_place(&unit);
    if (place) {
        complain("refused: %s sets LD_PRELOAD already (put %s there, in front of what it has)", place,
                 library);
        free(place);
        return STATUS_FOUND;
    }
    int status = check_rules(request, rules);
    if (!status)
        status = check_program(&unit);
    if (status)
        return status;
    char *text = formatted("# Made by `resil enable --unit`. Taken back by: resil disable --unit %s\n"
                           "[Service]\n"
                           "Environment=LD_PRELOAD=%s RESIL_EARLY=1 RESIL_LOG=%s%s%s\n",
                           unit.name, library, request->log ? request->log : "stderr",
                           *rules ? " RESIL_RULES=" : "", rules);
    bool is_written = make_folder_of(unit.drop_in) && replace_file(unit.drop_in, text);
    free(text);
    if (!is_written) {
        complain("%s cannot be written: %s", unit.drop_in, strerror(errno));
        return STATUS_UNUSABLE;
    }
    char *complaint = unit_complaint(&unit);
    if (complaint) {
        remove_drop_in(unit.drop_in);
        complain("taken back, because systemd says: %s", complaint);
        free(complaint);
        return STATUS_FOUND;
    }
    printf("%s will run with libresil: %s is there.\n"
           "Now: systemctl daemon-reload && systemctl restart %s\n"
           "To take it back: resil disable --unit %s\n",
           unit.name, unit.drop_in, unit.name, unit.name);
    return STATUS_GOOD;
}

/* Says what would keep libresil from working in the service. 0, or the status where it might not even start. */
static int check_program(const struct unit *unit)
{
    static struct doubts doubts;
    static char library[PATH_MAX];
    char *program = unit_program(unit);
    if (!program || preload_find(library) != 0)
        return 0;
    doubts_find(program, library, &doubts);
    for (unsigned i = 0; i < doubts.count; i++)
        complain("%s%s", doubts.is_fit ? "note: " : "refused: ", doubts.doubts[i].text);
    int status = doubts.is_fit ? 0 : STATUS_FOUND;
    doubts_end(&doubts);
    free(program);
    return status;
}

static bool make_folder_of(const char *path)
{
    char *folder = copy_of(path);
    *strrchr(folder, '/') = '\0';
    bool is_there = mkdir(folder, 0755) == 0 || errno == EEXIST;
    free(folder);
    return is_there;
}

/* With its folder, if nothing else is in there. */
static void remove_drop_in(const char *path)
{
    char *folder = copy_of(path);
    *strrchr(folder, '/') = '\0';
    unlink(path);
    rmdir(folder);
    free(folder);
}

static int enable_system(const char *library)
{
    char *problem = access(PRELOAD_LIST, F_OK) == 0 ? trusted_problem(PRELOAD_LIST) : NULL;
    if (problem) {
        complain("refused: %s", problem);
        free(problem);
        return STATUS_FOUND;
    }
    char *before = read_list();
    if (!before)
        return STATUS_UNUSABLE;
    char *list = preload_list_with(before, library);
    int status = STATUS_GOOD;
    struct canary canary = canary_run(list, library);
    if (canary.difference) {
        complain("refused: %s", canary.difference);
        free(canary.difference);
        status = STATUS_FOUND;
    } else {
        printf("%u programs did the same with libresil as without%s.\n", canary.count,
               canary.is_exact ? "" : " (by LD_PRELOAD: no namespace could be made to try the list itself)");
        status = put_list(before, list);
    }
    free(list);
    free(before);
    return status;
}

/* NULL where it cannot be read, which is said. */
static char *read_list(void)
{
    char *text = read_whole(PRELOAD_LIST);
    if (!text)
        complain("%s cannot be read: %s", PRELOAD_LIST, strerror(errno));
    return text;
}

/* And takes it back at once if programs do not start with it. */
static int put_list(const char *before, const char *list)
{
    char *now = read_list();
    bool is_same = now && strcmp(now, before) == 0;
    free(now);
    if (!is_same) {
        complain("refused: somebody else has changed %s meanwhile (try again)", PRELOAD_LIST);
        return STATUS_FOUND;
    }
    if (strcmp(before, list) != 0 && !replace_file(PRELOAD_LIST, list)) {
        complain("%s cannot be written: %s", PRELOAD_LIST, strerror(errno));
        return STATUS_UNUSABLE;
    }
    if (!canary_lives()) {
        char *without = preload_list_without(before);
        if (preload_list_is_empty(without) || !replace_file(PRELOAD_LIST, without))
            unlink(PRELOAD_LIST);
        free(without);
        complain("taken back: with libresil in %s programs do not start as they did", PRELOAD_LIST);
        return STATUS_FOUND;
    }
    puts("Programs that start from now on run with libresil: " PRELOAD_LIST " says so.\n"
         "To take it back: resil disable --system (or rm " PRELOAD_LIST ")");
    return STATUS_GOOD;
}

static int disable_unit(const char *word)
{
    static struct unit unit;
    if (!unit_name(word, &unit)) {
        complain("\"%s\" is no name of a service", word);
        return STATUS_UNUSABLE;
    }
    if (access(unit.drop_in, F_OK) != 0) {
        complain("%s is not enabled: there is no %s", unit.name, unit.drop_in);
        return STATUS_FOUND;
    }
    int status = STATUS_GOOD;
    disable_found(unit.drop_in, &status);
    if (status == STATUS_GOOD)
        printf("Now: systemctl daemon-reload && systemctl restart %s\n", unit.name);
    return status;
}

static void disable_found(const char *path, void *data)
{
    int *status = data;
    remove_drop_in(path);
    if (access(path, F_OK) == 0) {
        complain("%s cannot be removed", path);
        *status = STATUS_UNUSABLE;
    } else {
        printf("%s is gone.\n", path);
    }
}

static int disable_system(bool must_be_there)
{
    char *before = read_list();
    if (!before)
        return STATUS_UNUSABLE;
    int status = STATUS_GOOD;
    char *list = preload_list_without(before);
    if (strcmp(before, list) == 0) {
        if (must_be_there)
            complain("it is not enabled: %s does not name libresil", PRELOAD_LIST);
        status = must_be_there ? STATUS_FOUND : STATUS_GOOD;
    } else if (preload_list_is_empty(list) ? unlink(PRELOAD_LIST) != 0 : !replace_file(PRELOAD_LIST, list)) {
        complain("%s cannot be changed: %s", PRELOAD_LIST, strerror(errno));
        status = STATUS_UNUSABLE;
    } else {
        puts("Programs that start from now on run without libresil.");
    }
    free(list);
    free(before);
    return status;
}
