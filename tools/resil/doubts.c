#include "doubts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "program.h"

#define SCRIPT_LEVELS 4

static bool say(const struct program *program, const char *subject, const char *library);

bool doubts_say(const char *path, const char *library)
{
    static struct program program;
    static char current[PATH_MAX];
    snprintf(current, sizeof current, "%s", path);
    for (int level = 0; level <= SCRIPT_LEVELS; level++) {
        if (!program_read(current, &program))
            return true;
        if (program.kind == PROGRAM_ELF) {
            char *subject = level ? formatted("%s, which runs %s,", current, path) : copy_of(path);
            bool is_fit = say(&program, subject, library);
            free(subject);
            return is_fit;
        }
        /* What is neither goes to the shell, as execvp has it. */
        const char *next = program.kind == PROGRAM_SCRIPT ? program.interpreter : "/bin/sh";
        snprintf(current, sizeof current, "%s", next);
    }
    return true;
}

static bool say(const struct program *program, const char *subject, const char *library)
{
    static struct program ours;
    bool is_other_kind = program_read(library, &ours) && ours.kind == PROGRAM_ELF &&
                         (ours.class != program->class || ours.machine != program->machine);
    if (program->gains_privileges)
        complain(
            "%s gets privileges that you do not have (setuid, setgid or file capabilities), so the loader "
            "ignores "
            "LD_PRELOAD: nothing is changed by libresil. Run resil as the user whose privileges it gets.",
            subject);
    if (!program->has_interpreter && program->is_go)
        complain("%s is a static Go program: it makes its system calls itself and loads no libraries, so "
                 "libresil sees "
                 "nothing of it. What it does about timeouts and retries is up to its own code.",
                 subject);
    else if (!program->has_interpreter)
        complain("%s is a static executable: it loads no libraries, so libresil sees nothing of it. Use a "
                 "build of it "
                 "that is linked dynamically.",
                 subject);
    else if (is_other_kind)
        complain(
            "%s is %s, %s is not: the loader says so and runs it without libresil. Point RESIL_LIBRARY to a "
            "libresil.so for it.",
            subject, program_machine(program).text, library);
    else if (program->is_musl)
        complain("%s is made for musl, %s for glibc: it is run without libresil, or it might not start. Use "
                 "a build of "
                 "it for glibc.",
                 subject, library);
    else if (program->is_go)
        complain("%s is a Go program: it makes its system calls itself, so libresil sees only what it does "
                 "through "
                 "libc (with cgo: lookups). What it does about timeouts and retries is up to its own code.",
                 subject);
    return !program->is_musl;
}
