#include "drive/lookup.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "hooks/real.h"

static void *take(char **at, char *end, size_t size, size_t alignment);

int lookup_make(struct lookup *lookup)
{
    switch (lookup->form) {
    case LOOKUP_GETADDRINFO:
        return real.getaddrinfo(lookup->name, lookup->service, lookup->hints, lookup->answers);
    case LOOKUP_GETHOSTBYNAME:
        *lookup->answer = lookup->family == AF_UNSPEC ? real.gethostbyname(lookup->name)
                                                      : real.gethostbyname2(lookup->name, lookup->family);
        return *lookup->answer ? 0 : lookup_eai(h_errno);
    case LOOKUP_GETHOSTBYNAME_R:
        break;
    }
    lookup->result = lookup->family == AF_UNSPEC
                         ? real.gethostbyname_r(lookup->name, lookup->host, lookup->buffer, lookup->size,
                                                lookup->answer, lookup->error)
                         : real.gethostbyname2_r(lookup->name, lookup->family, lookup->host, lookup->buffer,
                                                 lookup->size, lookup->answer, lookup->error);
    return lookup->result == 0 && *lookup->answer ? 0 : lookup_eai(*lookup->error);
}

int lookup_time_out(struct lookup *lookup)
{
    switch (lookup->form) {
    case LOOKUP_GETADDRINFO:
        errno = ETIMEDOUT;
        break;
    case LOOKUP_GETHOSTBYNAME:
        *lookup->answer = NULL;
        h_errno = TRY_AGAIN;
        errno = ETIMEDOUT;
        break;
    case LOOKUP_GETHOSTBYNAME_R:
        *lookup->answer = NULL;
        *lookup->error = TRY_AGAIN;
        lookup->result = errno = EAGAIN;
        break;
    }
    return EAI_AGAIN;
}

int lookup_fail(struct lookup *lookup, int eai)
{
    int error = eai == EAI_AGAIN    ? TRY_AGAIN
                : eai == EAI_NODATA ? NO_DATA
                : eai == EAI_NONAME ? HOST_NOT_FOUND
                : eai == EAI_MEMORY ? NETDB_INTERNAL
                                    : NO_RECOVERY;
    if (eai == EAI_MEMORY)
        errno = ENOMEM;
    switch (lookup->form) {
    case LOOKUP_GETADDRINFO:
        break;
    case LOOKUP_GETHOSTBYNAME:
        *lookup->answer = NULL;
        h_errno = error;
        break;
    case LOOKUP_GETHOSTBYNAME_R:
        *lookup->answer = NULL;
        *lookup->error = error;
        /* As glibc does: no such name is no failure of the call. */
        lookup->result = error == HOST_NOT_FOUND || error == NO_DATA ? 0
                         : error == NETDB_INTERNAL                   ? ENOMEM
                                                                     : EAGAIN;
        break;
    }
    return eai;
}

int lookup_eai(int error)
{
    switch (error) {
    case 0:
        return 0;
    case TRY_AGAIN:
        return EAI_AGAIN;
    case NO_RECOVERY:
        return EAI_FAIL;
    case HOST_NOT_FOUND:
    case NO_DATA:
        return EAI_NONAME;
    }
    return EAI_SYSTEM; /* NETDB_INTERNAL: a buffer too small, no memory... */
}

bool lookup_copy_host(const struct hostent *from, struct hostent *to, char *buffer, size_t size)
{
    char *at = buffer, *end = buffer + size;
    size_t aliases = 0, addresses = 0;
    while (from->h_aliases && from->h_aliases[aliases])
        aliases++;
    while (from->h_addr_list[addresses])
        addresses++;
    *to = *from;
    to->h_aliases = take(&at, end, (aliases + 1) * sizeof(char *), sizeof(char *));
    to->h_addr_list = take(&at, end, (addresses + 1) * sizeof(char *), sizeof(char *));
    if (!to->h_aliases || !to->h_addr_list)
        return false;
    for (size_t i = 0; i < addresses; i++) {
        if (!(to->h_addr_list[i] = take(&at, end, (size_t)from->h_length, sizeof(uint32_t))))
            return false;
        memcpy(to->h_addr_list[i], from->h_addr_list[i], (size_t)from->h_length);
    }
    to->h_addr_list[addresses] = NULL;
    for (size_t i = 0; i < aliases; i++) {
        size_t length = strlen(from->h_aliases[i]) + 1;
        if (!(to->h_aliases[i] = take(&at, end, length, 1)))
            return false;
        memcpy(to->h_aliases[i], from->h_aliases[i], length);
    }
    to->h_aliases[aliases] = NULL;
    size_t length = strlen(from->h_name) + 1;
    if (!(to->h_name = take(&at, end, length, 1)))
        return false;
    memcpy(to->h_name, from->h_name, length);
    return true;
}

/* The next `size` bytes of the buffer, or NULL. */
static void *take(char **at, char *end, size_t size, size_t alignment)
{
    size_t gap = -(uintptr_t)*at & (alignment - 1);
    if ((size_t)(end - *at) < gap || (size_t)(end - *at) - gap < size)
        return NULL;
    char *taken = *at + gap;
    *at = taken + size;
    return taken;
}
