#include "scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

static int forget(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status, (void)kind, (void)where;
    return remove(path) != 0 && 0; /* what cannot be removed stays, and does not keep the rest */
}

bool scratch_begin(struct scratch *scratch)
{
    const char *folder = getenv("TMPDIR");
    int length = snprintf(scratch->path, sizeof scratch->path, "%s/resil-doctor-XXXXXX",
                          folder && folder[0] == '/' ? folder : "/tmp");
    return length < (int)sizeof scratch->path && mkdtemp(scratch->path);
}

void scratch_end(const struct scratch *scratch)
{
    nftw(scratch->path, forget, 16, FTW_DEPTH | FTW_PHYS);
}
