/* What `resil doctor` knows of a program in the end. */
#ifndef RESIL_DIAGNOSIS_H
#define RESIL_DIAGNOSIS_H

#include "bindings.h"
#include "doubts.h"
#include "findings.h"
#include "libraries.h"
#include "rule_file.h"
#include "scratch.h"

struct diagnosis {
    const char *name;       /* of the program, as it was asked for */
    char path[PATH_MAX];    /* where it was found */
    char library[PATH_MAX]; /* libresil.so */
    struct rule_file rules;
    struct doubts doubts;
    struct libraries libraries;
    struct findings findings;
    /* Only of a program that was run: */
    bool has_run;
    int status;             /* as waitpid has it */
    struct scratch scratch; /* its state, until diagnosis_end */
    struct bindings bindings;
};

/* Finds out what can be without running it; `name`, `path` and `library` are given, and `rules` is found. */
void diagnose(struct diagnosis *diagnosis, const char *rules);
void diagnosis_end(struct diagnosis *diagnosis);

void diagnosis_print(const struct diagnosis *diagnosis);
struct json_object *diagnosis_json(const struct diagnosis *diagnosis);

#endif
