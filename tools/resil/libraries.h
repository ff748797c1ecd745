/* The files that the loader puts together for a program, and what they ask of each other. */
#ifndef RESIL_LIBRARIES_H
#define RESIL_LIBRARIES_H

#include <stdbool.h>
#include <stddef.h>

struct object {
    char *path;
    const char *name; /* its file name */
    bool is_missing;  /* the loader does not find it; `path` is what it was asked for */
    bool is_libc;     /* libc or the loader: what they import is their affair */
    char **imports;   /* functions of the coverage table */
    size_t import_count;
    char **definitions; /* hooked functions that it exports itself */
    size_t definition_count;
};

struct libraries {
    struct object *objects; /* the program first, then in the order of the loader */
    size_t count;
};

/* Asks the loader itself (ld.so --list), which maps files and runs none of their code. Gives NULL, or why it could not be
 * asked; the program's own imports are known then all the same. */
const char *libraries_find(const char *path, const char *loader, struct libraries *libraries);
void libraries_end(struct libraries *libraries);

bool object_imports(const struct object *object, const char *function);

#endif
