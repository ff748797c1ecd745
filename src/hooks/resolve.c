#include "drive/resolver.h"
#include "hooks/export.h"
#include "hooks/real.h"

#define CALLER ((uintptr_t)__builtin_return_address(0))

EXPORT int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **answers)
{
    return drive_getaddrinfo(name, service, hints, answers, CALLER);
}

EXPORT void freeaddrinfo(struct addrinfo *answers)
{
    real.freeaddrinfo(answers);
}

EXPORT struct hostent *gethostbyname(const char *name)
{
    return drive_gethostbyname(name, AF_UNSPEC, CALLER);
}

EXPORT struct hostent *gethostbyname2(const char *name, int family)
{
    return drive_gethostbyname(name, family, CALLER);
}

EXPORT int gethostbyname_r(const char *name, struct hostent *host, char *buffer, size_t size,
                           struct hostent **answer, int *error)
{
    return drive_gethostbyname_r(name, AF_UNSPEC, host, buffer, size, answer, error, CALLER);
}

EXPORT int gethostbyname2_r(const char *name, int family, struct hostent *host, char *buffer, size_t size,
                            struct hostent **answer, int *error)
{
    return drive_gethostbyname_r(name, family, host, buffer, size, answer, error, CALLER);
}
