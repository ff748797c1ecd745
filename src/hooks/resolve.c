#include "drive/resolver.h"
#include "hooks/export.h"
#include "hooks/real.h"

EXPORT int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **answers)
{
    return drive_getaddrinfo(name, service, hints, answers);
}

EXPORT void freeaddrinfo(struct addrinfo *answers)
{
    real.freeaddrinfo(answers);
}
