/* A folder for the moment, which goes with all that is in it. */
#ifndef RESIL_SCRATCH_H
#define RESIL_SCRATCH_H

#include <stdbool.h>

struct scratch {
    char path[256];
};

/* False, with errno set. */
bool scratch_begin(struct scratch *scratch);
void scratch_end(const struct scratch *scratch);

#endif
