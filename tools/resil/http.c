#include "http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "message.h"
#include "watch.h"

#define PATH            "/metrics"
#define CONNECTIONS_MAX 32
#define IDLE_S          15
#define LOOK_EVERY_MS   200 /* whether somebody has interrupted us */

struct site {
    http_page *page;
    void *context;
};

static struct addrinfo *find_address(const char *text);
static bool split(const char *text, char *host, size_t capacity, const char **port);
static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *body, size_t *body_size,
                              void **request);
static struct MHD_Response *page_of(const struct site *site, struct MHD_Connection *connection);
static struct MHD_Response *text_of(const char *text);

int http_serve(const char *address, http_page *page, void *context)
{
    struct addrinfo *found = find_address(address);
    if (!found) {
        complain("--listen: \"%s\" is not an address and a port of at most 65535 (write 127.0.0.1:9911 or "
                 "[::1]:9911)",
                 address);
        return STATUS_UNUSABLE;
    }
    struct site site = {page, context};
    unsigned flags = found->ai_family == AF_INET6 ? MHD_USE_IPv6 : MHD_NO_FLAG;
    errno = 0;
    /* No thread of its own: it answers while we wait for it. */
    struct MHD_Daemon *daemon = MHD_start_daemon(flags, 0, NULL, NULL, answer, &site, MHD_OPTION_SOCK_ADDR,
                                                 found->ai_addr, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
                                                 MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_END);
    freeaddrinfo(found);
    if (!daemon) {
        complain("%s cannot be listened on: %s", address, errno ? strerror(errno) : "no memory");
        return STATUS_UNUSABLE;
    }
    const union MHD_DaemonInfo *port = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
    char host[64];
    const char *port_text;
    split(address, host, sizeof host, &port_text);
    printf(strchr(host, ':') ? "http://[%s]:%u" PATH "\n" : "http://%s:%u" PATH "\n", host,
           port ? port->port : 0u);
    watch_begin();
    fflush(stdout);
    while (!watch_is_over() && MHD_run_wait(daemon, LOOK_EVERY_MS) == MHD_YES)
        ;
    MHD_stop_daemon(daemon);
    return STATUS_GOOD;
}

/* Addresses only: a name would be looked up, and may be several. */
static struct addrinfo *find_address(const char *text)
{
    char host[64];
    const char *port;
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    /* getaddrinfo takes 65537 for port 1 */
    bool is_split = split(text, host, sizeof host, &port);
    if (!is_split || port[strspn(port, "0123456789")] || strtoul(port, NULL, 10) > UINT16_MAX ||
        getaddrinfo(host, port, &hints, &found) != 0)
        return NULL;
    return found;
}

static bool split(const char *text, char *host, size_t capacity, const char **port)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || (size_t)(colon - text) >= capacity || !colon[1])
        return false;
    bool is_bracketed = text[0] == '[' && colon[-1] == ']';
    size_t length = (size_t)(colon - text) - 2 * is_bracketed;
    memcpy(host, text + is_bracketed, length);
    host[length] = '\0';
    *port = colon + 1;
    return is_bracketed == (strchr(host, ':') != NULL);
}

static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *body, size_t *body_size,
                              void **request)
{
    static char is_known;
    (void)version;
    (void)body;
    if (!*request) { /* it is called again once the request is complete */
        *request = &is_known;
        return MHD_YES;
    }
    *body_size = 0;
    bool is_read = strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    bool is_page = strcmp(path, PATH) == 0, is_root = strcmp(path, "/") == 0;
    struct MHD_Response *response = !is_read  ? text_of("Only GET and HEAD.\n")
                                    : is_page ? page_of(context, connection)
                                    : is_root ? text_of("libresil's figures are at " PATH ".\n")
                                              : text_of("There is only " PATH ".\n");
    if (!response)
        return MHD_NO;
    unsigned status = !is_read             ? MHD_HTTP_METHOD_NOT_ALLOWED
                      : is_page || is_root ? MHD_HTTP_OK
                                           : MHD_HTTP_NOT_FOUND;
    if (!is_read)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static struct MHD_Response *page_of(const struct site *site, struct MHD_Connection *connection)
{
    const char *accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
    const char *type;
    size_t size;
    char *text = site->page(accept, &type, &size, site->context);
    struct MHD_Response *response = MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE);
    if (response)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    return response;
}

static struct MHD_Response *text_of(const char *text)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT);
    if (response)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
    return response;
}
