/* A name service module that asks a server before it answers, as libnss_resolve and libnss_mdns do: it connects to
 * 127.0.0.1:SLOWTEST_PORT, does not care whether that works, and answers 127.0.0.9 for every name that ends in ".slow". */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <nss.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum nss_status _nss_slowtest_gethostbyname2_r(const char *name, int family, struct hostent *host,
                                               char *buffer, size_t size, int *error, int *host_error);
enum nss_status _nss_slowtest_gethostbyname_r(const char *name, struct hostent *host, char *buffer,
                                              size_t size, int *error, int *host_error);

static void ask(void)
{
    const char *port = getenv("SLOWTEST_PORT");
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)(port ? atoi(port) : 1))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        if (send(fd, "?", 1, MSG_NOSIGNAL) == 1)
            recv(fd, &address, 1, 0);
    close(fd);
}

enum nss_status _nss_slowtest_gethostbyname2_r(const char *name, int family, struct hostent *host,
                                               char *buffer, size_t size, int *error, int *host_error)
{
    size_t length = strlen(name);
    if (family != AF_INET || length < 5 || strcmp(name + length - 5, ".slow") != 0) {
        *error = ENOENT;
        *host_error = HOST_NOT_FOUND;
        return NSS_STATUS_NOTFOUND;
    }
    ask();
    struct answer {
        char *addresses[2], *aliases[1];
        unsigned char address[4];
        char name[];
    } *answer = (struct answer *)(((uintptr_t)buffer + 7) & ~(uintptr_t)7);
    if ((size_t)((char *)answer - buffer) + sizeof *answer + length + 1 > size) {
        *error = ERANGE;
        *host_error = NETDB_INTERNAL;
        return NSS_STATUS_TRYAGAIN;
    }
    memcpy(answer->address, (unsigned char[]){127, 0, 0, 9}, 4);
    memcpy(answer->name, name, length + 1);
    answer->addresses[0] = (char *)answer->address;
    answer->addresses[1] = answer->aliases[0] = NULL;
    *host = (struct hostent){answer->name, answer->aliases, AF_INET, 4, answer->addresses};
    return NSS_STATUS_SUCCESS;
}

enum nss_status _nss_slowtest_gethostbyname_r(const char *name, struct hostent *host, char *buffer,
                                              size_t size, int *error, int *host_error)
{
    return _nss_slowtest_gethostbyname2_r(name, AF_INET, host, buffer, size, error, host_error);
}
