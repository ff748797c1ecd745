#include "doubts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"

#define SCRIPT_LEVELS 4

static void find(struct doubts *doubts, const char *subject, const char *library);
static void add(struct doubts *doubts, const char *kind, char *text);

void doubts_find(const char *path, const char *library, struct doubts *doubts)
{
    *doubts = (struct doubts){.is_fit = true};
    snprintf(doubts->path, sizeof doubts->path, "%s", path);
    for (int level = 0; level <= SCRIPT_LEVELS; level++) {
        if (!program_read(doubts->path, &doubts->program))
            return;
        if (doubts->program.kind == PROGRAM_ELF) {
            char *subject = level ? formatted("%s, which runs %s,", doubts->path, path) : copy_of(path);
            find(doubts, subject, library);
            free(subject);
            return;
        }
        /* What is neither goes to the shell, as execvp has it. */
        const char *next = doubts->program.kind == PROGRAM_SCRIPT ? doubts->program.interpreter : "/bin/sh";
        snprintf(doubts->path, sizeof doubts->path, "%s", next);
    }
}

void doubts_end(struct doubts *doubts)
{
    for (unsigned i = 0; i < doubts->count; i++)
        free(doubts->doubts[i].text);
    doubts->count = 0;
}

static void find(struct doubts *doubts, const char *subject, const char *library)
{
    static struct program ours;
    const struct program *program = &doubts->program;
    bool is_known = program_read(library, &ours);
    bool is_other_kind = is_known && ours.kind == PROGRAM_ELF &&
                         (ours.class != program->class || ours.machine != program->machine);
    if (program->gains_privileges)
        add(doubts, "privileges",
            formatted(
                "%s gets privileges that you do not have (setuid, setgid or file capabilities), so the "
                "loader ignores LD_PRELOAD: nothing is changed by libresil. Run resil as the user whose "
                "privileges it gets.",
                subject));
    if (!program->has_interpreter && program->is_go)
        add(doubts, "static",
            formatted(
                "%s is a static Go program: it makes its system calls itself and loads no libraries, so "
                "libresil sees nothing of it. What it does about timeouts and retries is up to its own "
                "code.",
                subject));
    else if (!program->has_interpreter)
        add(doubts, "static",
            formatted(
                "%s is a static executable: it loads no libraries, so libresil sees nothing of it. Use a "
                "build of it that is linked dynamically.",
                subject));
    else if (is_other_kind)
        add(doubts, "other_machine",
            formatted("%s is %s, %s is not: the loader says so and runs it without libresil. Point "
                      "RESIL_LIBRARY to a libresil.so for it.",
                      subject, program_machine(program).text, library));
    else if (program->is_musl)
        add(doubts, "musl",
            formatted("%s is made for musl, %s for glibc: it is run without libresil, or it might not start. "
                      "Use a build of it for glibc.",
                      subject, library));
    else if (program->is_go)
        add(doubts, "go",
            formatted(
                "%s is a Go program: it makes its system calls itself, so libresil sees only what it does "
                "through libc (with cgo: lookups). What it does about timeouts and retries is up to its "
                "own code.",
                subject));
    else if (program->needs_nothing)
        add(doubts, "no_libc",
            formatted(
                "%s does not use libc: it makes its system calls itself, so libresil sees nothing of it.",
                subject));
    bool is_another = is_known && !ours.is_libresil;
    if (is_another)
        add(doubts, "library",
            formatted("%s is no libresil.so: %s is run without it (see RESIL_LIBRARY).", library, subject));
    doubts->is_fit = !program->is_musl && !is_another;
}

static void add(struct doubts *doubts, const char *kind, char *text)
{
    doubts->doubts[doubts->count].kind = kind;
    doubts->doubts[doubts->count++].text = text;
}
