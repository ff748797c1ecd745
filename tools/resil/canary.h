/* Programs of this machine, run with the library before everything is: a canary. */
#ifndef RESIL_CANARY_H
#define RESIL_CANARY_H

#include <stdbool.h>

struct canary {
    bool
        is_exact; /* the loader read the list itself, in a namespace of the canary's; else LD_PRELOAD stood in */
    unsigned count;   /* programs that were run */
    char *difference; /* NULL: each did as it does without. Else a sentence */
};

/* Runs some programs that every boot and every login need, each without the library and with it; and, as somebody who
 * is nobody, one that is set-user-id. `list` is what /etc/ld.so.preload would say; that file is left alone. */
struct canary canary_run(const char *list, const char *library);

/* With the list in its place: does the first of them still run, and has the loader nothing to say about us? */
bool canary_lives(void);

#endif
