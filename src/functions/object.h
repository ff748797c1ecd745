/* A loaded object (program or library) as its own tables describe it. Nothing here allocates, locks or changes anything;
 * the object must stay loaded meanwhile (functions/patch.c sees to that). */
#ifndef FUNCTIONS_OBJECT_H
#define FUNCTIONS_OBJECT_H

#include <link.h>
#include <stdbool.h>
#include <stdint.h>

struct object {
    uintptr_t base;
    const char *name; /* the soname, else the name of the file; "" for the program */
    const Elf64_Sym *symbols;
    const char *strings;
    const uint32_t *gnu_hash;
    const uint32_t *hash;
    const Elf64_Half *versions;
    const Elf64_Verneed *needed;
    const Elf64_Verdef *defined;
    struct {
        const Elf64_Rela *items;
        size_t count;
    } relocations[2];                 /* of data, and of calls */
    uintptr_t code_begin, code_end;   /* what may be executed */
    uintptr_t relro_begin, relro_end; /* whole pages that are read-only once the object is relocated */
};

/* False: it has no symbols that could be read. */
bool object_read(const struct dl_phdr_info *info, struct object *object);

/* The next symbol of that name that is defined here, from a hash table; 0: none. `after` is the one before, or 0. */
uint32_t object_symbol(const struct object *object, const char *name, uint32_t after);

/* The name of the version that the symbol has here, or that is wanted of it; NULL: none. `is_default`, if not NULL: is it
 * the one that is meant where no version is asked for? */
const char *object_version(const struct object *object, uint32_t symbol, bool *is_default);

/* Where the function is. Those that choose between several implementations of themselves (IFUNC) are asked, as the loader
 * does it. 0: it cannot be asked, or the symbol is no function. */
uintptr_t object_function(const struct object *object, uint32_t symbol, bool may_ask);

/* Has the loader finished with it? It shows an object to others before it has put its addresses in. */
bool object_is_settled(const struct object *object);

#endif
