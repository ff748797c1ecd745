/* Where a call leads to, out of what programs pass to client libraries. */
#include <string.h>

#include "rules/function.h"

/* A part of a text. */
struct part {
    const char *at;
    size_t length;
};

static struct part part_to(const char *at, const char *stops);
static bool of_url(const char *text, struct part *host, struct part *port);
static bool of_conninfo(const char *text, struct part *host, struct part *port);
static bool of_address(struct part authority, struct part *host, struct part *port);
static struct part value_of(const char *text, const char *key);
static bool copy_host(struct part part, char *host, size_t capacity);

bool function_target_parse(const char *text, char *host, size_t capacity, uint16_t *port)
{
    struct part name = {NULL, 0}, number = {NULL, 0};
    *port = 0;
    bool is_found = strstr(text, "://") ? of_url(text, &name, &number)
                    : strchr(text, '=') ? of_conninfo(text, &name, &number)
                                        : of_address(part_to(text, ",/ "), &name, &number);
    if (!is_found || !copy_host(name, host, capacity))
        return false;
    uint32_t value = 0;
    for (size_t i = 0; i < number.length; i++) {
        if (number.at[i] < '0' || number.at[i] > '9' || value > UINT16_MAX)
            return true; /* a service's name: without a port, then */
        value = value * 10 + (uint32_t)(number.at[i] - '0');
    }
    *port = value <= UINT16_MAX ? (uint16_t)value : 0;
    return true;
}

static struct part part_to(const char *at, const char *stops)
{
    return (struct part){at, strcspn(at, stops)};
}

/* scheme://user:password@host:port,host2/path */
static bool of_url(const char *text, struct part *host, struct part *port)
{
    struct part authority = part_to(strstr(text, "://") + 3, "/?#");
    for (size_t i = authority.length; i > 0; i--) {
        if (authority.at[i - 1] != '@')
            continue;
        authority.at += i;
        authority.length -= i;
        break;
    }
    const char *comma = memchr(authority.at, ',', authority.length);
    if (comma)
        authority.length = (size_t)(comma - authority.at);
    return of_address(authority, host, port);
}

/* host=db port=5432 user=...; a host may be in quotes */
static bool of_conninfo(const char *text, struct part *host, struct part *port)
{
    *host = value_of(text, "host");
    if (!host->length)
        *host = value_of(text, "hostaddr");
    *port = value_of(text, "port");
    return host->length != 0;
}

/* HOST, HOST:PORT, [::1]:PORT, ::1 */
static bool of_address(struct part authority, struct part *host, struct part *port)
{
    const char *end = authority.at + authority.length;
    const char *colon = memchr(authority.at, ':', authority.length);
    *host = authority;
    if (authority.length && *authority.at == '[') {
        const char *bracket = memchr(authority.at, ']', authority.length);
        if (!bracket)
            return false;
        *host = (struct part){authority.at + 1, (size_t)(bracket - authority.at - 1)};
        colon = bracket + 1 < end && bracket[1] == ':' ? bracket + 1 : NULL;
    } else if (colon && memchr(colon + 1, ':', (size_t)(end - colon - 1))) {
        colon = NULL; /* an IPv6 address without brackets */
    } else if (colon) {
        host->length = (size_t)(colon - authority.at);
    }
    if (colon)
        *port = (struct part){colon + 1, (size_t)(end - colon - 1)};
    return host->length != 0;
}

/* Values are never looked for in other values: in quotes these may hold anything. */
static struct part value_of(const char *text, const char *key)
{
    size_t length = strlen(key);
    while (*text) {
        text += strspn(text, " \t\n");
        struct part name = part_to(text, "= \t\n");
        text += name.length;
        text += strspn(text, " \t\n");
        if (*text != '=')
            break;
        text++;
        text += strspn(text, " \t\n");
        bool is_quoted = *text == '\'';
        struct part value = {text + is_quoted, 0};
        const char *at = value.at;
        while (*at && (is_quoted ? *at != '\'' : !strchr(" \t\n", *at)))
            at += *at == '\\' && at[1] ? 2 : 1;
        value.length = (size_t)(at - value.at);
        if (name.length == length && memcmp(name.at, key, length) == 0) {
            const char *comma = memchr(value.at, ',', value.length);
            if (comma)
                value.length = (size_t)(comma - value.at);
            return value;
        }
        text = at + (is_quoted && *at == '\'');
    }
    return (struct part){text, 0};
}

static bool copy_host(struct part part, char *host, size_t capacity)
{
    if (part.length == 0 || part.length >= capacity ||
        *part.at == '/') /* a folder of UNIX sockets is no host */
        return false;
    for (size_t i = 0; i < part.length; i++) {
        unsigned char c = (unsigned char)part.at[i];
        bool is_good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c >= 0x80 || strchr(".-_:%", c);
        if (!is_good || c == '\0')
            return false;
        host[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    host[part.length] = '\0';
    return true;
}
