/* resil doctor: what of a program libresil can reach, and whether it works here at all. */
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "diagnosis.h"
#include "json_out.h"
#include "message.h"
#include "preload.h"

struct request {
    const char *rules;
    bool is_json, is_run;
    char **program; /* and its arguments */
};

static error_t parse_option(int key, char *argument, struct argp_state *state);
static void run(const struct request *request, struct diagnosis *diagnosis);
static void start(const struct request *request, const struct diagnosis *diagnosis);
static void judge_run(struct diagnosis *diagnosis);

static const struct argp_option options[] = {
    {"rules", 'r', "FILE", 0, "The rule file; else the one that programs would use", 0},
    {"run", 'R', NULL, 0,
     "Run PROGRAM with its arguments under libresil, and tell which of its calls came there", 0},
    {"json", 'j', NULL, 0, "Print JSON; what PROGRAM prints goes to stderr then", 0},
    {0},
};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "[--] PROGRAM [ARGUMENT...]",
    .doc =
        "Tells what of PROGRAM libresil can reach: reads its file and its libraries (without running them), "
        "looks at rules, state folder and environment, and runs a little program of its own under libresil "
        "to prove that interception works here."
        "\v"
        "`good` is as it should be; `note` is worth knowing; `BAD` keeps libresil from working, in whole or "
        "in part. With --run, PROGRAM is run with state of its own, so that nothing but this run is counted "
        "(open circuits of other programs are not known there), and the loader is asked which of its "
        "functions it bound to libresil.\n"
        "\n"
        "Exit status: 0 nothing is bad; 1 something is; 2 wrong usage, or PROGRAM or libresil.so is not to "
        "be "
        "had. PROGRAM's own exit status is told, not given.",
};

int doctor_command(int argc, char **argv)
{
    static struct diagnosis diagnosis;
    struct request request = {.rules = NULL};
    if (argp_parse(&parser, argc, argv, ARGP_IN_ORDER, NULL, &request) != 0)
        return STATUS_UNUSABLE;
    diagnosis.name = request.program[0];
    if (program_find(diagnosis.name, diagnosis.path) != 0) {
        complain("%s cannot be run: %s", diagnosis.name, strerror(errno));
        return STATUS_UNUSABLE;
    }
    if (preload_find(diagnosis.library) != 0)
        return STATUS_UNUSABLE;
    diagnose(&diagnosis, request.rules);
    if (request.is_run)
        run(&request, &diagnosis);
    if (request.is_json)
        json_print(diagnosis_json(&diagnosis), stdout);
    else
        diagnosis_print(&diagnosis);
    int status = findings_are_bad(&diagnosis.findings) ? STATUS_FOUND : STATUS_GOOD;
    if (request.is_run && !diagnosis.has_run)
        status = STATUS_UNUSABLE;
    diagnosis_end(&diagnosis);
    return status;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    switch (key) {
    case 'r':
        request->rules = argument;
        return 0;
    case 'R':
        request->is_run = true;
        return 0;
    case 'j':
        request->is_json = true;
        return 0;
    case ARGP_KEY_ARG: /* the first that is no option; the rest is the program's */
        request->program = state->argv + state->next - 1;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "PROGRAM is missing, for instance: resil doctor wget");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void run(const struct request *request, struct diagnosis *diagnosis)
{
    if (!diagnosis->doubts.is_fit || !scratch_begin(&diagnosis->scratch)) {
        complain("%s is not run: %s", diagnosis->path,
                 diagnosis->doubts.is_fit ? strerror(errno) : "it might not even start with libresil");
        return;
    }
    fflush(stdout);
    /* Meant for the program; the report comes all the same. */
    void (*interrupt)(int) = signal(SIGINT, SIG_IGN), (*quit)(int) = signal(SIGQUIT, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGINT, interrupt);
        signal(SIGQUIT, quit);
        start(request, diagnosis);
    }
    while (pid > 0 && waitpid(pid, &diagnosis->status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0) {
        complain("%s is not run: %s", diagnosis->path, strerror(errno));
        scratch_end(&diagnosis->scratch);
        return;
    }
    diagnosis->has_run = true;
    diagnosis->bindings = bindings_read(diagnosis->scratch.path, diagnosis->library);
    judge_run(diagnosis);
}

/* In the child. */
static void start(const struct request *request, const struct diagnosis *diagnosis)
{
    char absolute[PATH_MAX];
    if (request->is_json)
        dup2(STDERR_FILENO, STDOUT_FILENO);
    if (!diagnosis->rules.is_built_in && path_make_absolute(diagnosis->rules.path, absolute))
        setenv("RESIL_RULES", absolute, 1);
    setenv("RESIL_STATE_DIR", diagnosis->scratch.path, 1);
    setenv("RESIL_EARLY", "1", 1);
    preload_set(diagnosis->library);
    bindings_ask(diagnosis->scratch.path);
    execvp(request->program[0], request->program);
    complain("%s cannot be run: %s", diagnosis->path, strerror(errno));
    _exit(STATUS_NOT_EXECUTABLE);
}

static void judge_run(struct diagnosis *diagnosis)
{
    struct findings *findings = &diagnosis->findings;
    int status = diagnosis->status;
    bool has_connect = false;
    for (size_t i = 0; i < diagnosis->bindings.count; i++)
        has_connect |= strcmp(diagnosis->bindings.functions[i].function, "connect") == 0;
    if (WIFSIGNALED(status))
        findings_add(findings, FINDING_NOTE, "run", "it was ended by signal %d", WTERMSIG(status));
    else
        findings_add(findings, WEXITSTATUS(status) ? FINDING_NOTE : FINDING_GOOD, "run",
                     "it ended with status %d", WEXITSTATUS(status));
    if (!diagnosis->bindings.count)
        findings_add(findings, FINDING_BAD, "run", "the loader bound none of its functions to libresil");
    else if (!has_connect)
        findings_add(
            findings, FINDING_NOTE, "run",
            "the loader bound functions of it to libresil, but no connect: it made no connection, or not "
            "through libc");
    else
        findings_add(findings, FINDING_GOOD, "run", "the loader bound its connect to libresil");
}
