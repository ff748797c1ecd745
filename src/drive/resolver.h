/* getaddrinfo() under a rule: bounded, retried, and its answers remembered, so that connect() knows the name. */
#ifndef DRIVE_RESOLVER_H
#define DRIVE_RESOLVER_H

#include <netdb.h>

int drive_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                      struct addrinfo **answers);

#endif
