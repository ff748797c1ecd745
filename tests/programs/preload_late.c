/* A library whose constructor runs after that of libresil, and says which errno it finds. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

__attribute__((constructor)) static void late(void)
{
    dprintf(STDOUT_FILENO, "late: %d\n", errno);
}
