/* A library that hides the function named in HIDDEN from those who look for the next one of that name: as if libc did not
 * have it. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

void *dlsym(void *handle, const char *name);

void *dlsym(void *handle, const char *name)
{
    static void *(*real)(void *, const char *);
    const char *hidden = getenv("HIDDEN");
    if (!real)
        real = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    return handle == RTLD_NEXT && hidden && strcmp(name, hidden) == 0 ? NULL : real(handle, name);
}
