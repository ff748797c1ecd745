/* Functions made at run time (libffi): each has the types that are declared, and calls one of ours with what it was given. */
#ifndef FUNCTIONS_CLOSURE_H
#define FUNCTIONS_CLOSURE_H

#include <ffi.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/hidden.h"
#include "rules/function.h"

/* Types as libffi wants them. `types` has to live as long as `shape` does. */
bool closure_shape(ffi_cif *shape, ffi_type **types, enum value_type returns,
                   const enum value_type *arguments, uint32_t count);

/* Where the closure that this thread has entered last was called. To be read first of all: others may be entered. */
extern __thread uintptr_t closure_caller HIDDEN __attribute__((tls_model("initial-exec")));

/* A page in which functions are made. It may be executed only when it is finished, and not be changed then. */
struct closure_page;
struct closure_page *closure_page_open(void); /* NULL: no memory */

/* Makes another function of that shape in it; `called` gets `data`. NULL: the page is full. */
void *closure_make(struct closure_page *page, ffi_cif *shape,
                   void (*called)(ffi_cif *shape, void *result, void **arguments, void *data), void *data);

/* Makes it executable, for ever. `moved` is how far it is from where its functions were made. False: this process may not
 * have executable memory of its own; the page is gone then. */
bool closure_page_finish(struct closure_page *page, intptr_t *moved);

#endif
