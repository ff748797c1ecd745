/* What takes the place of a declared function: one binding for each declaration and each function that it means. A binding
 * is never taken away, for somebody may have a pointer to it or be inside; a declaration that is gone leaves it passing
 * calls on. */
#ifndef FUNCTIONS_BINDING_H
#define FUNCTIONS_BINDING_H

#include "functions/closure.h"

#define BINDINGS_MAX       512u
#define BINDING_NAME_BYTES 128

struct armed_fault;

struct binding {
    uint64_t signature; /* of the declaration */
    uintptr_t original, check, cleanup;
    uintptr_t code; /* what is called instead; 0 while it is being made, and where it must not be used */
    char symbol[BINDING_NAME_BYTES]; /* the declaration may be gone */
    uint32_t place;                  /* where the declaration was found last among those of the rule set */
    uint64_t host_known, host_key;   /* the place of the function's own circuit (target.c) */
    uint64_t attempts;               /* how often it was called while its fault was armed */
    struct armed_fault *fault;       /* as it was found last */
    ffi_cif shape, check_shape, cleanup_shape;
    ffi_type *types[FUNCTION_ARGUMENTS_MAX], *check_types[FUNCTION_INNER_ARGUMENTS],
        *cleanup_types[FUNCTION_INNER_ARGUMENTS];
};

extern struct binding
    *bindings;                 /* those that are finished come first; changed under the loader's lock only */
extern uint32_t binding_count; /* read with acquire */

/* The binding that has this address; NULL: it is none's. */
struct binding *binding_of_code(uintptr_t code);

/* The binding of that declaration for that function; NULL: there is none. */
struct binding *binding_find(uint64_t signature, uintptr_t original);

/* Makes new bindings: begin, any number of `binding_add`, end. The functions of check and cleanup are 0 where there are
 * none. False after end: there is no executable memory to be had, and none was made. */
struct binding_batch {
    struct closure_page *page;
    uint32_t count;
    bool is_full;
};
void binding_begin(struct binding_batch *batch);
void binding_add(struct binding_batch *batch, const struct function *function, uintptr_t original,
                 uintptr_t check, uintptr_t cleanup);
bool binding_end(struct binding_batch *batch);

/* The declaration, if the rule set still has it. */
const struct function *binding_declaration(struct binding *binding, const struct ruleset *rules);

/* What is called in place of the original (call.c). */
void function_called(ffi_cif *shape, void *result, void **arguments, void *binding);

#endif
