/* Which functions of a running program the loader has bound to libresil, as the loader itself tells it (LD_DEBUG). */
#ifndef RESIL_BINDINGS_H
#define RESIL_BINDINGS_H

#include <stddef.h>

struct binding {
    char *function;
    char **objects; /* whose calls they are: paths, each once */
    size_t count;
};
struct bindings {
    struct binding *functions;
    size_t count;
    size_t processes; /* that the loader started */
};

/* Has the loader of the programs that are started from now on write its account into that folder. */
void bindings_ask(const char *folder);

/* What it has written there. */
struct bindings bindings_read(const char *folder, const char *library);
void bindings_end(struct bindings *bindings);

#endif
