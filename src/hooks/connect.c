#include "drive/connect.h"
#include "hooks/export.h"
#include "hooks/real.h"

EXPORT int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t length)
{
    return drive_connect(fd, address.__sockaddr__, length, (uintptr_t)__builtin_return_address(0));
}
