/* Lookups under a rule: bounded, retried, and their answers remembered, so that connect() knows the name. */
#ifndef DRIVE_RESOLVER_H
#define DRIVE_RESOLVER_H

#include <netdb.h>
#include <stddef.h>
#include <stdint.h>

int drive_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                      struct addrinfo **answers, uintptr_t caller);

/* `caller` is where in the program the call is made. AF_UNSPEC stands for the forms without a family. */
struct hostent *drive_gethostbyname(const char *name, int family, uintptr_t caller);
int drive_gethostbyname_r(const char *name, int family, struct hostent *host, char *buffer, size_t size,
                          struct hostent **answer, int *error, uintptr_t caller);

#endif
