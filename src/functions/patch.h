/* One pass over all objects that are loaded: which functions are meant, and where they are called. */
#ifndef FUNCTIONS_PATCH_H
#define FUNCTIONS_PATCH_H

#include "functions/binding.h"
#include "functions/object.h"

#define NAMES_MAX_PATCHED 128u
#define DEFINITIONS_MAX   256u

/* A function that is meant, in the object that defines it. */
struct definition {
    uintptr_t address;
    uintptr_t code; /* what is called instead; 0: itself */
    uintptr_t check, cleanup;
    const char *version;
    const struct function *function; /* the declaration; NULL: none means it */
    uint32_t name;
    uint32_t object; /* in the order of loading */
    bool is_default;
};

/* Too much for the stack of whoever makes the program look. */
struct pass {
    const struct ruleset *rules;          /* NULL: nothing is declared */
    const char *names[NAMES_MAX_PATCHED]; /* the first two are dlsym and dlvsym */
    uint32_t name_count;
    bool may_be[256]; /* names by their first two characters */
    struct definition definitions[DEFINITIONS_MAX];
    uint32_t definition_count;
    uint32_t object;        /* that is looked at */
    uint32_t placed;        /* addresses that were changed */
    uint64_t has_library;   /* mask of the declarations whose library is there, ... */
    uint64_t has_symbol;    /* ... and has the function */
    bool is_unfinished;     /* something was left for later: objects that are being loaded, a full page */
    uint32_t left_alone;    /* calls of which it cannot be told which function they mean */
    uint32_t start_objects; /* so many were there when the program began */
    unsigned long long adds;
};

/* Makes the pass. Under the loader's lock: nothing is unloaded meanwhile, and no two passes are made at once. */
void patch_make(struct pass *pass);

/* How many objects the loader has loaded so far. */
unsigned long long patch_adds(void);

/* Is it as it will stay? When the program begins the loader has finished with all there is. */
bool patch_may_touch(const struct object *object);

/* definitions.c: one object of each step. */
void definitions_find(struct pass *pass, const struct object *object);
void definitions_bind(struct pass *pass);

#endif
