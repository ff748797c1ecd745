/* One function in the files of a program: who has it, and who calls it by name. */
#ifndef RESIL_SYMBOLS_H
#define RESIL_SYMBOLS_H

#include <stdbool.h>

struct symbol {
    bool is_exported; /* others may call it */
    bool
        is_kept; /* it is there, for the file itself only: static or hidden (seen where it is not stripped) */
    bool is_called; /* by name, from another file's */
    char *nearest;  /* the exported function whose name comes nearest, where it is neither; NULL: none does */
};

/* What that file has of it; nothing, where it cannot be read. */
struct symbol symbol_find(const char *path, const char *name);
void symbol_end(struct symbol *symbol);

#endif
