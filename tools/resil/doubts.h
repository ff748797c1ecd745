/* Why libresil may not work in a program. */
#ifndef RESIL_DOUBTS_H
#define RESIL_DOUBTS_H

#include <stdbool.h>

#include "program.h"

struct doubts {
    char path[PATH_MAX];    /* of the ELF file that will run: the program, or what interprets it */
    struct program program; /* that file; its kind is another one where nothing of it is known */
    bool is_fit;            /* false: libresil had better not be loaded at all */
    unsigned count;
    struct {
        const char *kind; /* "static", "privileges", "other_machine", "musl", "go" */
        char *text;       /* what, why it matters, what to do */
    } doubts[3];
};

/* What keeps libresil from working in the program, or in what interprets it. */
void doubts_find(const char *path, const char *library, struct doubts *doubts);
void doubts_end(struct doubts *doubts);

#endif
