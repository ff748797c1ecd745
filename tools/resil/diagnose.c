/* What can be found out about a program without running it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "diagnose_functions.h"
#include "diagnosis.h"
#include "message.h"
#include "preload.h"
#include "probe.h"
#include "state/process.h"
#include "state/segment.h"
#include "state_check.h"
#include "target.h"

static void look_at_program(struct diagnosis *diagnosis);
static void look_at_preload(struct diagnosis *diagnosis);
static void look_at_settings(struct diagnosis *diagnosis);
static void look_at_rules(struct diagnosis *diagnosis, const char *named);
static void look_at_state(struct diagnosis *diagnosis);
static void look_at_probe(struct diagnosis *diagnosis);

void diagnose(struct diagnosis *diagnosis, const char *rules)
{
    doubts_find(diagnosis->path, diagnosis->library, &diagnosis->doubts);
    look_at_program(diagnosis);
    look_at_preload(diagnosis);
    look_at_settings(diagnosis);
    look_at_rules(diagnosis, rules);
    look_at_state(diagnosis);
    look_at_probe(diagnosis);
}

void diagnosis_end(struct diagnosis *diagnosis)
{
    if (diagnosis->has_run) {
        bindings_end(&diagnosis->bindings);
        scratch_end(&diagnosis->scratch);
    }
    libraries_end(&diagnosis->libraries);
    doubts_end(&diagnosis->doubts);
    findings_end(&diagnosis->findings);
}

static void look_at_program(struct diagnosis *diagnosis)
{
    struct doubts *doubts = &diagnosis->doubts;
    struct findings *findings = &diagnosis->findings;
    for (unsigned i = 0; i < doubts->count; i++)
        findings_add(findings, FINDING_BAD, doubts->doubts[i].kind, "%s", doubts->doubts[i].text);
    bool is_script = strcmp(doubts->path, diagnosis->path) != 0;
    if (is_script && access(doubts->path, F_OK) != 0) {
        findings_add(findings, FINDING_BAD, "interpreter",
                     *doubts->path ? "%s will not start: what its first line names is not there: %s"
                                   : "%s will not start: what its first line names is in no folder of PATH%s",
                     diagnosis->path, doubts->path);
        return;
    }
    if (doubts->program.kind != PROGRAM_ELF) {
        findings_add(findings, FINDING_NOTE, "program", "what runs %s is not known", diagnosis->path);
        return;
    }
    if (!doubts->count)
        findings_add(findings, FINDING_GOOD, "program", "%s%s%s%s dynamic %s program for glibc",
                     is_script ? diagnosis->path : "", is_script ? " is run by " : "", doubts->path,
                     is_script ? ", a" : " is a", program_machine(&doubts->program).text);
    if (!doubts->program.has_interpreter)
        return;
    const char *why = libraries_find(doubts->path, doubts->program.loader, &diagnosis->libraries);
    if (why)
        findings_add(findings, FINDING_NOTE, "libraries", "its libraries are not known: %s", why);
    for (size_t i = 0; i < diagnosis->libraries.count; i++) {
        const struct object *object = &diagnosis->libraries.objects[i];
        if (object->is_missing)
            findings_add(findings, FINDING_BAD, "libraries", "%s is not found: the program will not start",
                         object->path);
        for (size_t n = 0; n < object->definition_count; n++)
            findings_add(findings, i ? FINDING_NOTE : FINDING_BAD, "own_function",
                         i ? "%s has a function %s of its own, which is called behind libresil's"
                           : "%s has a function %s of its own, which the loader takes instead of libresil's",
                         object->name, object->definitions[n]);
    }
}

static void look_at_preload(struct diagnosis *diagnosis)
{
    const char *before = getenv("LD_PRELOAD");
    char *list = copy_of(before ? before : ""), *rest = NULL;
    for (char *entry = strtok_r(list, ": ", &rest); entry; entry = strtok_r(NULL, ": ", &rest)) {
        bool is_ours = preload_is_library(entry, diagnosis->library);
        bool is_there = !strchr(entry, '/') || strchr(entry, '$') || access(entry, R_OK) == 0;
        if (is_ours)
            findings_add(&diagnosis->findings, FINDING_NOTE, "preload", "LD_PRELOAD has libresil already: %s",
                         entry);
        else if (is_there)
            findings_add(&diagnosis->findings, FINDING_NOTE, "preload",
                         "LD_PRELOAD has %s; libresil goes before it, and calls its functions", entry);
        else
            findings_add(&diagnosis->findings, FINDING_NOTE, "preload",
                         "LD_PRELOAD has %s, which is not there", entry);
    }
    free(list);
}

static void look_at_settings(struct diagnosis *diagnosis)
{
    if (settings.is_disabled)
        findings_add(&diagnosis->findings, FINDING_BAD, "settings",
                     "RESIL_DISABLE is set, so libresil changes nothing (unset it)");
    if (settings.is_log_bad)
        findings_add(&diagnosis->findings, FINDING_BAD, "settings",
                     "RESIL_LOG is neither stderr, off nor a path: nothing is logged");
    if (settings.is_seed_bad)
        findings_add(&diagnosis->findings, FINDING_BAD, "settings",
                     "RESIL_SEED is not a whole number: it is as if it were not set");
    for (unsigned i = 0; i < BAD_SWITCHES_MAX && settings.bad_switches[i]; i++)
        findings_add(&diagnosis->findings, FINDING_BAD, "settings",
                     "%s is neither 1, on, yes, true nor 0, off, no, false: it is as if it were not set",
                     settings.bad_switches[i]);
}

static void look_at_rules(struct diagnosis *diagnosis, const char *named)
{
    static struct problems problems;
    struct findings *findings = &diagnosis->findings;
    rule_file_find(named, &diagnosis->rules);
    const char *path = diagnosis->rules.path;
    struct ruleset *set = rule_file_load(&diagnosis->rules, &problems);
    if (!set) {
        findings_add(findings, FINDING_BAD, "rules", "%s: %s, so no rules are in force (see: resil check %s)",
                     path, counted(problems.errors, "error").text, path);
        return;
    }
    /* As rules see the program: by the name of what runs. */
    bool is_script = strcmp(diagnosis->doubts.path, diagnosis->path) != 0;
    const char *whole = is_script ? diagnosis->doubts.path : diagnosis->name;
    const char *slash = strrchr(whole, '/');
    struct asked asked = {.program = slash ? slash + 1 : whole};
    uint32_t fitting = 0;
    for (uint32_t i = 0; i < set->rule_count; i++)
        fitting += !(target_misses(&set->rules[i].match, &asked) & MISS_PROGRAM);
    ruleset_lint(set, &problems);
    bool has_others =
        set->function_count || set->fault_count; /* a file of these alone is good for what it is */
    if (fitting)
        findings_add(findings, FINDING_GOOD, "rules", "%s: %u of %s may be for %s", path, fitting,
                     counted(set->rule_count, "rule").text, asked.program);
    else if (is_script && set->rule_count)
        findings_add(findings, FINDING_NOTE, "rules",
                     "%s: none of %s is for a program called %s, which runs this script; should it start "
                     "another program, ask about that one (or: resil doctor --run)",
                     path, counted(set->rule_count, "rule").text, asked.program);
    else if (set->rule_count || !has_others)
        findings_add(findings, FINDING_BAD, "rules", "%s: none of %s is for a program called %s", path,
                     counted(set->rule_count, "rule").text, asked.program);
    if (problems.warnings)
        findings_add(findings, FINDING_NOTE, "rules", "%s: %s (see: resil check %s)", path,
                     counted(problems.warnings, "warning").text, path);
    diagnose_functions(findings, &diagnosis->doubts.program, &diagnosis->libraries, set);
    ruleset_free(set);
}

static void look_at_state(struct diagnosis *diagnosis)
{
    char canonical[PATH_MAX], folder[1100];
    rule_file_canonical(&diagnosis->rules, canonical);
    char *problem = state_problem(canonical);
    segment_directory(folder, sizeof folder);
    if (problem)
        findings_add(&diagnosis->findings, FINDING_BAD, "state",
                     "%s. Each process keeps circuits and counters to itself, and resil status shows nothing "
                     "(set RESIL_STATE_DIR to a folder of your own)",
                     problem);
    else
        findings_add(&diagnosis->findings, FINDING_GOOD, "state", "circuits and counters are shared in %s",
                     folder);
    free(problem);
}

static void look_at_probe(struct diagnosis *diagnosis)
{
    struct probed probed = probe_run(diagnosis->library);
    struct findings *findings = &diagnosis->findings;
    if (!probed.has_run)
        findings_add(findings, FINDING_BAD, "probe", "%s was not tried: %s", diagnosis->library,
                     probed.problem);
    else if (!probed.is_loaded)
        findings_add(findings, FINDING_BAD, "probe",
                     "the loader does not put %s before libc here, so no program is reached",
                     diagnosis->library);
    else if (probed.is_judged)
        findings_add(findings, FINDING_GOOD, "probe",
                     "%s works here: a connect to loopback got what its rule said", diagnosis->library);
    else if (!probed.has_loopback)
        findings_add(findings, FINDING_NOTE, "probe",
                     "%s is loaded here; there is no loopback to see it work", diagnosis->library);
    else
        findings_add(findings, FINDING_BAD, "probe", "%s is loaded here, but no rule is carried out%s",
                     diagnosis->library, settings.is_disabled ? " (RESIL_DISABLE is set)" : "");
}
