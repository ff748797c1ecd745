/* Lookups that need no network: literals, localhost, and what is wrong. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

#include "conform.h"

static const char *const names[] = {NULL,         "127.0.0.1", "::1",       "::ffff:127.0.0.1",
                                    "127.1",      "localhost", "LOCALHOST", "1.2.3",
                                    "fe80::1%lo", "",          "*",         "0x7f.1"};
static const char *const services[] = {NULL, "80", "http", "no-such-service", "", "-1", "99999", "00080"};
static const struct addrinfo hints[] = {
    {.ai_family = AF_UNSPEC},
    {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM},
    {.ai_family = AF_INET6, .ai_socktype = SOCK_DGRAM},
    {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV},
    {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM},
    {.ai_flags = AI_CANONNAME, .ai_family = AF_INET},
    {.ai_flags = AI_V4MAPPED | AI_ALL, .ai_family = AF_INET6},
    {.ai_flags = AI_CANONNAME | 0x40000000},
    {.ai_family = 99},
    {.ai_socktype = 77},
    {.ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_UDP},
};

static void cell_getaddrinfo(size_t n, size_t s, size_t h)
{
    if (!cell_begin("getaddrinfo %s %s hints=%zu", names[n] ? names[n] : "(null)",
                    services[s] ? services[s] : "(null)", h))
        return;
    struct addrinfo *answers = NULL;
    errno = ERRNO_SENTINEL;
    int result = getaddrinfo(names[n], services[s], h < COUNT_OF(hints) ? &hints[h] : NULL, &answers);
    int error = errno;
    say_result("result", result, result == 0 || result == EAI_SYSTEM ? error : ERRNO_SENTINEL);
    say(" answers=%d", answers != NULL);
    if (result == 0) {
        for (struct addrinfo *answer = answers; answer; answer = answer->ai_next) {
            say(" [%x %d %d %d %s", (unsigned)answer->ai_flags, answer->ai_family, answer->ai_socktype,
                answer->ai_protocol, answer->ai_canonname ? answer->ai_canonname : "-");
            say_data("address", answer->ai_addr, answer->ai_addrlen);
            say("]");
        }
        errno = ERRNO_SENTINEL;
        freeaddrinfo(answers);
        say_result("freed", 0, errno);
    }
    cell_end();
}

static void say_host(const struct hostent *host)
{
    if (!host)
        return;
    say(" name=%s type=%d length=%d", host->h_name, host->h_addrtype, host->h_length);
    for (char **alias = host->h_aliases; *alias; alias++)
        say(" alias=%s", *alias);
    for (char **address = host->h_addr_list; *address; address++)
        say_data("address", *address, (size_t)host->h_length);
}

static const int families[] = {AF_UNSPEC, AF_INET, AF_INET6, 99}; /* AF_UNSPEC: the form without a family */

static void cell_gethostbyname(size_t n, size_t f)
{
    if (!cell_begin("gethostbyname %s family=%d", names[n], families[f]))
        return;
    errno = ERRNO_SENTINEL;
    h_errno = 0;
    struct hostent *host = families[f] ? gethostbyname2(names[n], families[f]) : gethostbyname(names[n]);
    say_result("found", host != NULL, errno);
    say(" h_errno=%d", host ? 0 : h_errno);
    say_host(host);
    cell_end();
}

static void cell_gethostbyname_r(size_t n, size_t f, size_t room)
{
    if (!cell_begin("gethostbyname_r %s family=%d room=%zu", names[n], families[f], room))
        return;
    static char buffer[2048];
    struct hostent host = {0}, *answer = NULL;
    int told = -7;
    errno = ERRNO_SENTINEL;
    int result = families[f] ? gethostbyname2_r(names[n], families[f], &host, buffer, room, &answer, &told)
                             : gethostbyname_r(names[n], &host, buffer, room, &answer, &told);
    say_result("result", result, errno);
    say(" answer=%d told=%d", answer == &host, told);
    say_host(answer);
    cell_end();
}

void table_names(void)
{
    for (size_t n = 0; n < COUNT_OF(names); n++) {
        for (size_t s = 0; s < COUNT_OF(services); s++)
            for (size_t h = 0; h <= COUNT_OF(hints); h++)
                cell_getaddrinfo(n, s, h);
        for (size_t f = 0; f < COUNT_OF(families) && names[n] && *names[n]; f++) {
            /* "*" and "1.2.3"-like names would be asked of a name server. */
            if (strcmp(names[n], "*") == 0)
                continue;
            cell_gethostbyname(n, f);
            cell_gethostbyname_r(n, f, 2048);
            cell_gethostbyname_r(n, f, 16);
            cell_gethostbyname_r(n, f, 0);
        }
    }
}
