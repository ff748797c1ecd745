#include "drive/answer.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "drive/connect.h"
#include "hooks/real.h"

#define HOST_BYTES         (8u << 10) /* so many addresses and a name need much less */
#define HOST_ADDRESSES_MAX 16u

/* The program's own: in the shim, strdup is the rule reader's. */
char *__real_strdup(const char *text);

static unsigned add(struct address *addresses, unsigned count, unsigned most, const struct address *address);
static bool make_list(struct lookup *lookup, const char *name, const struct address *addresses,
                      unsigned count);
static bool make_host(struct lookup *lookup, const char *name, const struct address *addresses,
                      unsigned count);

unsigned answer_addresses(const struct lookup *lookup, struct address *addresses, unsigned most)
{
    unsigned count = 0;
    for (const struct addrinfo *answer = lookup->answers ? *lookup->answers : NULL; answer;
         answer = answer->ai_next) {
        struct target target;
        if (target_of_sockaddr(answer->ai_addr, answer->ai_addrlen, &target))
            count = add(addresses, count, most, &target.address);
    }
    const struct hostent *host = lookup->answer ? *lookup->answer : NULL;
    for (char **address = host ? host->h_addr_list : NULL; address && *address; address++) {
        struct address found = {{[10] = 0xff, [11] = 0xff}};
        if (host->h_length == 16)
            memcpy(found.bytes, *address, 16);
        else
            memcpy(found.bytes + 12, *address, 4);
        count = add(addresses, count, most, &found);
    }
    return count;
}

bool answer_make(struct lookup *lookup, const char *name, const struct address *addresses, unsigned count)
{
    return lookup->form == LOOKUP_GETADDRINFO ? make_list(lookup, name, addresses, count)
                                              : make_host(lookup, name, addresses, count);
}

static unsigned add(struct address *addresses, unsigned count, unsigned most, const struct address *address)
{
    for (unsigned i = 0; i < count; i++)
        if (address_equal(&addresses[i], address))
            return count;
    if (count < most)
        addresses[count++] = *address;
    return count;
}

/* libc makes it of each address as if the program had asked for that: services, kinds of sockets and flags are then as
 * they should be, and freeaddrinfo frees it. */
static bool make_list(struct lookup *lookup, const char *name, const struct address *addresses,
                      unsigned count)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC}, *first = NULL, **end = &first;
    if (lookup->hints)
        hints = *lookup->hints;
    else
        hints.ai_flags = AI_V4MAPPED; /* what no hints mean, but for what does not go with addresses */
    bool has_name = hints.ai_flags & AI_CANONNAME;
    hints.ai_flags = (hints.ai_flags & ~(AI_CANONNAME | AI_ADDRCONFIG)) | AI_NUMERICHOST;
    for (unsigned i = 0; i < count; i++) {
        struct addrinfo *part = NULL;
        if (real.getaddrinfo(address_text(&addresses[i]).text, lookup->service, &hints, &part) != 0)
            continue;
        *end = part;
        while (*end)
            end = &(*end)->ai_next;
    }
    if (!first)
        return false;
    if (has_name && !first->ai_canonname)
        first->ai_canonname = __real_strdup(name);
    *lookup->answers = first;
    return true;
}

static bool make_host(struct lookup *lookup, const char *name, const struct address *addresses,
                      unsigned count)
{
    /* What gethostbyname returns is overwritten by the next one, as in libc. */
    static struct hostent own_host;
    static char own_buffer[HOST_BYTES];
    bool is_v4 = lookup->family != AF_INET6, is_reentrant = lookup->form == LOOKUP_GETHOSTBYNAME_R;
    char *list[HOST_ADDRESSES_MAX + 1], *none = NULL;
    unsigned found = 0;
    for (unsigned i = 0; i < count && found < HOST_ADDRESSES_MAX; i++)
        if (address_is_v4(&addresses[i]) == is_v4)
            list[found++] = (char *)addresses[i].bytes + (is_v4 ? 12 : 0);
    list[found] = NULL;
    const struct hostent host = {.h_name = (char *)name,
                                 .h_aliases = &none,
                                 .h_addrtype = is_v4 ? AF_INET : AF_INET6,
                                 .h_length = is_v4 ? 4 : 16,
                                 .h_addr_list = list};
    if (!found)
        return false;
    struct hostent *to = is_reentrant ? lookup->host : &own_host;
    if (!lookup_copy_host(&host, to, is_reentrant ? lookup->buffer : own_buffer,
                          is_reentrant ? lookup->size : sizeof own_buffer)) {
        /* The program comes again with more room, as it would have had to for any answer. */
        *lookup->answer = NULL;
        if (lookup->error)
            *lookup->error = NETDB_INTERNAL;
        lookup->result = ERANGE;
        return is_reentrant;
    }
    lookup->result = 0;
    *lookup->answer = to;
    return true;
}
