/* resil run: starts a program with libresil, and says beforehand what would keep that from working. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attend.h"
#include "command.h"
#include "fallbacks.h"
#include "coverage.h"
#include "diagnose_functions.h"
#include "doubts.h"
#include "fault_table.h"
#include "fault_words.h"
#include "libraries.h"
#include "message.h"
#include "preload.h"
#include "program.h"
#include "rule_file.h"
#include "rules/fault_names.h"
#include "rules/sources.h"
#include "state/faults.h"
#include "state/process.h"
#include "state/rule_news.h"
#include "state/segment.h"
#include "state/whereabouts.h"
#include "state_check.h"

struct request {
    const char *rules, *log, *seed;
    bool is_strict;
    bool has_faults; /* armed */
    bool are_shadow; /* only told */
    bool prints_rules;
    bool has_functions;       /* declared in the rule file that was checked */
    char *faults[FAULTS_MAX]; /* of --fault, as lines of a rule file */
    unsigned fault_count;
    char **program; /* and its arguments */
};

static error_t parse_option(int key, char *argument, struct argp_state *state);
static bool check_rules(struct request *request);
static bool is_fit(const struct request *request, const char *path, const char *library);
static void warn_of_waits(const struct doubts *doubts);
static void check_state(const struct request *request);
static void keep_shim_silent(const struct rule_file *file);
static const char *add_faults(const struct request *request);
static void arm(const struct request *request);
static int run_armed(const struct request *request);
static bool set_environment(const struct request *request);
static bool set_log(const char *where);
static bool set_path(const char *variable, const char *path);

static const struct argp_option options[] = {
    {"rules", 'r', "FILE", 0,
     "The rule file; else RESIL_RULES, ~/.config/resil/rules.yaml, /etc/resil/rules.yaml, or the built-in "
     "rules",
     0},
    {"log", 'l', "WHERE", 0, "Where to log: stderr, off, or a file; else RESIL_LOG, or stderr", 0},
    {"seed", 's', "N", 0, "Draw the same random numbers each time", 0},
    {"faults", 'f', "shadow", OPTION_ARG_OPTIONAL,
     "Let the faults of the rule file happen, and tell at the end what they did; --faults=shadow: tell what "
     "they would do, "
     "and do nothing",
     0},
    {"fault", 'F', "FAULT", 0,
     "Let this happen too: \"payments.internal: latency 300ms+-50ms 20%\", \"dns: fail 10%\"; may be given "
     "more than once",
     0},
    {"print-rules", 'p', NULL, 0, "Print the rule file that --fault stands for, and run nothing", 0},
    {"strict", 'S', NULL, 0, "Do not start the program if the rules have errors", 0},
    {0},
};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "[--] PROGRAM [ARGUMENT...]",
    .doc = "Runs PROGRAM with libresil, which adds timeouts, retries and circuit breakers to its connections "
           "as the "
           "rule file says. Rules are checked first; what would keep libresil from working in PROGRAM is "
           "said on "
           "stderr, and PROGRAM is started all the same."
           "\v"
           "Environment: RESIL_RULES, RESIL_LOG, RESIL_SEED and RESIL_STRICT=1 are used where the option is "
           "not given; RESIL_LIBRARY names another libresil.so; RESIL_STATE_DIR another folder for shared "
           "state, which must belong to the user and be writable by nobody else; RESIL_DISABLE=1 switches "
           "libresil off. What it cannot do in PROGRAM: resil doctor PROGRAM.\n"
           "\n"
           "Exit status: that of PROGRAM; 2 wrong usage, 72 libresil.so is not to be had, 78 errors in the "
           "rules "
           "with --strict, 126 PROGRAM cannot be executed, 127 PROGRAM is not found.",
};

int run_command(int argc, char **argv)
{
    static char path[PATH_MAX], library[PATH_MAX];
    struct request request = {.is_strict = settings.is_strict,
                              .has_faults = settings.are_faults_armed,
                              .are_shadow = settings.are_faults_shadow};
    if (argp_parse(&parser, argc, argv, ARGP_IN_ORDER, NULL, &request) != 0)
        return STATUS_UNUSABLE;
    if (request.fault_count && !(request.rules = add_faults(&request)))
        return STATUS_UNUSABLE;
    if (request.prints_rules && !request.fault_count)
        complain("--print-rules: prints what --fault stands for, and there is none");
    if (request.prints_rules)
        return request.fault_count ? STATUS_GOOD : STATUS_UNUSABLE;
    int status = program_find(request.program[0], path);
    if (status == STATUS_NOT_FOUND && !strchr(request.program[0], '/'))
        complain("%s is not found in any folder of PATH", request.program[0]);
    else if (status)
        complain("%s cannot be run: %s", request.program[0], strerror(errno));
    if (!status)
        status = preload_find(library);
    if (status)
        return status;
    if (!check_rules(&request))
        return STATUS_BAD_RULES;
    if (settings.is_disabled)
        complain("RESIL_DISABLE is set in the environment, so libresil changes nothing (unset it)");
    else
        check_state(&request);
    if (!set_environment(&request))
        return STATUS_UNUSABLE;
    if (is_fit(&request, path, library))
        preload_set(library);
    if (request.has_faults && !settings.is_disabled)
        return run_armed(&request);
    execvp(request.program[0], request.program);
    int error = errno;
    complain("%s cannot be run: %s", path,
             error == ENOENT ? "the interpreter that it names is not there" : strerror(error));
    return error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    switch (key) {
    case 'r':
        request->rules = argument;
        return 0;
    case 'l':
        if (!process_is_log(argument))
            argp_error(state, "--log: \"%s\" is neither stderr, off nor a path (a file is written ./%s)",
                       argument, argument);
        request->log = argument;
        return 0;
    case 's':
        if (!process_is_seed(argument))
            argp_error(state, "--seed: \"%s\" is not a whole number", argument);
        request->seed = argument;
        return 0;
    case 'S':
        request->is_strict = true;
        return 0;
    case 'f':
        if (argument && strcmp(argument, "shadow") != 0)
            argp_error(state, "--faults: \"%s\" is not shadow (write --faults, or --faults=shadow)",
                       argument);
        request->has_faults = true;
        request->are_shadow |= argument != NULL;
        return 0;
    case 'p':
        request->prints_rules = true;
        return 0;
    case 'F':
        if (request->fault_count == FAULTS_MAX)
            argp_error(state, "--fault: more than %u of them", FAULTS_MAX);
        request->has_faults = true;
        request->faults[request->fault_count] = fault_words(argument, request->fault_count + 1);
        if (!request->faults[request->fault_count++])
            exit(STATUS_UNUSABLE);
        return 0;
    case ARGP_KEY_ARG: /* the first that is no option; the rest is the program's */
        request->program = state->argv + state->next - 1;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        if (request->prints_rules)
            return 0;
        argp_error(state, "PROGRAM is missing, for instance: resil run -- wget https://example.com/");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The rule file that --fault makes of the one that there is. NULL: it cannot be had. */
static const char *add_faults(const struct request *request)
{
    static struct rule_file file;
    static char absolute[PATH_MAX];
    rule_file_find(request->rules, &file);
    if (!file.is_built_in && !path_make_absolute(file.path, absolute)) {
        complain("%s cannot be made absolute", file.path);
        return NULL;
    }
    char *text = fault_words_file(request->faults, request->fault_count, file.is_built_in ? NULL : absolute);
    if (request->prints_rules)
        fputs(text, stdout);
    const char *path = request->prints_rules ? "" : fault_words_write(text);
    free(text);
    return path;
}

/* With a seed, which is said, so that the run can be had again. */
static void arm(const struct request *request)
{
    char seed[24];
    setenv("RESIL_FAULTS", request->are_shadow ? "shadow" : "1", 1);
    if (!request->seed && !settings.has_seed) {
        snprintf(seed, sizeof seed, "%lu", (unsigned long)faults_seed());
        setenv("RESIL_SEED", seed, 1);
    }
    const char *set = getenv("RESIL_SEED");
    complain("faults are %s, with seed %s (--seed %s gives the same again)",
             request->are_shadow ? "told, not done" : "armed", set, set);
}

/* The program as a child: at its end there is something to tell. */
static int run_armed(const struct request *request)
{
    static struct rule_file file;
    static struct problems problems;
    static char canonical[PATH_MAX];
    bool is_shared = false;
    rule_file_find(request->rules, &file);
    rule_file_canonical(&file, canonical);
    bool is_open = segment_open(canonical, &is_shared) && is_shared;
    struct fault_counts before = fault_counts_of(is_open ? segment_current : NULL);
    int status = attend(request->program);
    if (status == -1) {
        int error = errno;
        complain("%s cannot be run: %s", request->program[0],
                 error == ENOENT ? "the interpreter that it names is not there" : strerror(error));
        return error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
    }
    struct ruleset *set = rule_file_load(&file, &problems);
    if (set && fault_names(set) && is_open)
        fault_table_print(set, segment_current, &before, stderr);
    else if (set && !fault_names(set))
        complain("%s has no faults, so nothing was to happen (add faults:, or give --fault)", file.path);
    if (set)
        ruleset_free(set);
    return attend_end_alike(status);
}

/* Says what keeps libresil from working in the program. False where it must not even be loaded. */
static bool is_fit(const struct request *request, const char *path, const char *library)
{
    static struct doubts doubts;
    doubts_find(path, library, &doubts);
    bool is_fit = doubts.is_fit;
    for (unsigned i = 0; i < doubts.count; i++)
        complain("%s", doubts.doubts[i].text);
    if (!doubts.count && doubts.program.has_interpreter && coverage_of_waits())
        warn_of_waits(&doubts);
    if (!doubts.count && doubts.program.has_interpreter && request->has_functions && !settings.is_disabled)
        warn_of_functions(request->rules, &doubts);
    doubts_end(&doubts);
    return is_fit;
}

/* Only where the same file connects and waits: that some library waits for something says nothing. One that connects to
 * a single place of its own (a daemon's socket) asks for no names. */
static void warn_of_waits(const struct doubts *doubts)
{
    struct libraries libraries;
    libraries_find(doubts->path, doubts->program.loader, &libraries);
    for (size_t i = 0; i < libraries.count; i++) {
        const struct object *object = &libraries.objects[i];
        const char *wait = NULL;
        for (size_t n = 0; n < object->import_count && !wait; n++)
            wait = coverage_is_wait(object->imports[n]) ? object->imports[n] : NULL;
        if (!wait || !object_imports(object, "connect") || (i > 0 && !object_imports(object, "getaddrinfo")))
            continue;
        complain("%s can wait for its connections in %s (of %s); these %s (see: resil doctor)", doubts->path,
                 wait, object->name, coverage_of_waits());
        break;
    }
    libraries_end(&libraries);
}

/* Says on stderr why state cannot be shared, where that is so. */
static void check_state(const struct request *request)
{
    static struct rule_file file;
    static char canonical[PATH_MAX];
    rule_file_find(request->rules, &file);
    rule_file_canonical(&file, canonical);
    char *problem = state_problem(canonical);
    if (problem)
        complain(
            "%s. Each process keeps circuits and counters to itself, and resil status shows nothing (set "
            "RESIL_STATE_DIR to a folder of your own)",
            problem);
    free(problem);
}

/* Says what is wrong with the rules. False when the program must not be started. */
static bool check_rules(struct request *request)
{
    static struct rule_file file;
    static char canonical[PATH_MAX];
    struct problems problems;
    if (request->rules) /* never the built-in ones: programs know those by finding no file only */
        snprintf(file.path, sizeof file.path, "%s", request->rules);
    else
        rule_file_find(NULL, &file);
    struct ruleset *set = rule_file_load(&file, &problems);
    if (set) {
        ruleset_lint(set, &problems);
        request->has_functions = set->function_count;
        if (problems.warnings && !file.is_built_in)
            complain("%s: %s (see: resil check %s)", file.path, counted(problems.warnings, "warning").text,
                     file.path);
        rule_file_canonical(&file, canonical);
        if (!settings.is_disabled)
            fallbacks_look_up(set, canonical);
        ruleset_free(set);
        return true;
    }
    problems_print(file.path, &problems, false, stderr);
    if (request->is_strict) {
        complain("%s is not started: the rules cannot be used (--strict or RESIL_STRICT=1)",
                 request->program[0]);
        return false;
    }
    complain("the rules cannot be used, so %s runs as without libresil", request->program[0]);
    keep_shim_silent(&file);
    return true;
}

/* The library would say the same again. It does so once in a session, and that has been done now. */
static void keep_shim_silent(const struct rule_file *file)
{
    static struct sources sources;
    static struct problems problems;
    static char canonical[PATH_MAX];
    char absolute[PATH_MAX];
    rule_file_canonical(file, canonical);
    if (!path_make_absolute(file->path, absolute) || !segment_open(canonical, NULL))
        return;
    struct ruleset *set = ruleset_load_from(absolute, NULL, &problems, &sources);
    if (set)
        ruleset_free(set); /* mended meanwhile */
    else
        rule_news_bad_was_told(&problems, sources.identity);
}

static bool set_environment(const struct request *request)
{
    static struct rule_file found;
    rule_file_find(request->rules, &found);
    if ((request->rules || !found.is_built_in) &&
        !set_path("RESIL_RULES", request->rules ? request->rules : found.path))
        return false;
    if (settings.is_log_bad && !request->log)
        complain(
            "RESIL_LOG is neither stderr, off nor a path: the log goes to stderr (a file of such a name is "
            "written ./NAME)");
    if (!set_log(request->log ? request->log : settings.log))
        return false;
    if (request->seed)
        setenv("RESIL_SEED", request->seed, 1);
    else if (settings.is_seed_bad) {
        complain("RESIL_SEED is not a whole number: it is as if it were not set");
        unsetenv("RESIL_SEED");
    }
    for (unsigned i = 0; i < BAD_SWITCHES_MAX && settings.bad_switches[i]; i++) {
        complain("%s is neither 1, on, yes, true nor 0, off, no, false: it is as if it were not set",
                 settings.bad_switches[i]);
        unsetenv(settings.bad_switches[i]);
    }
    if (request->is_strict)
        setenv("RESIL_STRICT", "1", 1);
    if (request->has_faults)
        arm(request);
    /* Read the rules at the start: later may be after chroot, setuid or a seccomp filter. */
    setenv("RESIL_EARLY", "1", 1);
    char namespaces[WHEREABOUTS_BYTES];
    if (whereabouts_pass_on(namespaces))
        setenv("RESIL_NAMESPACES", namespaces, 1);
    else
        unsetenv("RESIL_NAMESPACES");
    return true;
}

/* A file by its absolute path, or lines would go elsewhere once the program changes its directory. */
static bool set_log(const char *where)
{
    if (!*where || strcmp(where, "stderr") == 0 || strcmp(where, "off") == 0)
        return setenv("RESIL_LOG", *where ? where : "stderr", 1) == 0;
    int file = open(where, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (file < 0)
        complain("the log %s cannot be written: %s. Its lines will be lost (resil log shows the events all "
                 "the same)",
                 where, strerror(errno));
    else
        close(file);
    return set_path("RESIL_LOG", where);
}

static bool set_path(const char *variable, const char *path)
{
    char absolute[PATH_MAX];
    if (!path_make_absolute(path, absolute)) {
        complain("%s cannot be made absolute: its path is too long, or the working directory is gone", path);
        return false;
    }
    return setenv(variable, absolute, 1) == 0;
}
