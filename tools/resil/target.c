#include "target.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "rules/pattern.h"
#include "rules/units.h"

static const char *parse_host(const char *host, struct asked *asked);
static bool has_target(const struct rule_match *match, const struct asked *asked);
static bool has_port(const struct rule_match *match, uint16_t port);
static bool has_program(const struct rule_match *match, const char *program);

const char *target_parse(const char *text, struct asked *asked)
{
    char host[512];
    if (*text == '/' || *text == '@') {
        asked->target.protocol = PROTOCOL_UNIX;
        asked->target.path = text;
        return NULL;
    }
    size_t length = strlen(text);
    if (strstr(text, "://") || strchr(text, '/'))
        return "write the host only, without scheme and path";
    if (length >= sizeof host)
        return "it is too long";
    /* What stands behind the only colon is a port; with more of them it is an IPv6 address, unless it has brackets. */
    const char *colon = strrchr(text, ':'), *bracket = strrchr(text, ']');
    bool has_port_text = colon && (bracket ? colon == bracket + 1 : strchr(text, ':') == colon);
    if (has_port_text) {
        uint32_t port;
        if (!count_parse(colon + 1, &port) || port == 0 || port > UINT16_MAX)
            return "the port is a number from 1 to 65535";
        asked->target.port = (uint16_t)port;
        length = (size_t)(colon - text);
    }
    memcpy(host, text, length);
    host[length] = '\0';
    return parse_host(host, asked);
}

static const char *parse_host(const char *host, struct asked *asked)
{
    if (address_parse(host, &asked->target.address)) {
        asked->target.has_address = true;
        return NULL;
    }
    if (strpbrk(host, "[]:"))
        return "an IPv6 address is written [::1]:443";
    if (strchr(host, '*'))
        return "ask for one host, not for a pattern";
    if (strpbrk(host, " \t\n"))
        return "there are blanks in it";
    if (!name_normalize(host, asked->name))
        return *host ? "the name is longer than 253 bytes" : "the host is empty";
    asked->target.name = asked->name;
    return NULL;
}

bool target_is_named(const char *asked, const char *target)
{
    char host[128];
    const char *colon = strrchr(target, ':'), *bracket = strchr(target, ']');
    bool has_port_text = colon && (bracket ? colon > bracket : strchr(target, ':') == colon);
    size_t length = has_port_text ? (size_t)(colon - target) : strlen(target);
    if (length >= sizeof host)
        length = sizeof host - 1;
    memcpy(host, target, length);
    host[length] = '\0';
    if (strcasecmp(asked, target) == 0 || strcasecmp(asked, host) == 0 ||
        fnmatch(asked, target, FNM_CASEFOLD) == 0 || fnmatch(asked, host, FNM_CASEFOLD) == 0)
        return true;
    return host[0] == '[' && strlen(asked) + 2 == length && strncasecmp(asked, host + 1, length - 2) == 0;
}

unsigned target_misses(const struct rule_match *match, const struct asked *asked)
{
    return (has_target(match, asked) ? 0u : MISS_TARGET) |
           (has_port(match, asked->target.port) ? 0u : MISS_PORT) |
           (has_program(match, asked->program) ? 0u : MISS_PROGRAM);
}

static bool has_target(const struct rule_match *match, const struct asked *asked)
{
    const char *name = asked->target.name;
    if (!(match->protocols & PROTOCOL_BIT(asked->target.protocol)))
        return false;
    for (uint32_t i = 0; asked->target.path && i < match->path_count; i++)
        if (pattern_matches(match->paths[i], asked->target.path))
            return true;
    size_t length = name ? strlen(name) : 0;
    for (uint32_t i = 0; name && i < match->host_count; i++) {
        const struct host_pattern *host = &match->hosts[i];
        if (host->is_suffix ? host_is_below(name, length, host) : strcmp(host->name, name) == 0)
            return true;
    }
    for (uint32_t i = 0; asked->target.has_address && i < match->prefix_count; i++)
        if (prefix_contains(&match->prefixes[i], &asked->target.address))
            return true;
    return match->host_count == 0 && match->prefix_count == 0 && match->path_count == 0;
}

static bool has_port(const struct rule_match *match, uint16_t port)
{
    for (uint32_t i = 0; port && i < match->port_count; i++)
        if (port >= match->ports[i].first && port <= match->ports[i].last)
            return true;
    return match->port_count == 0 || port == 0;
}

static bool has_program(const struct rule_match *match, const char *program)
{
    for (uint32_t i = 0; program && i < match->program_count; i++)
        if (pattern_matches(match->programs[i], program))
            return true;
    return match->program_count == 0;
}

struct asked_text target_ports(const struct rule_match *match)
{
    struct asked_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    text_add(&text, "port ");
    for (uint32_t i = 0; i < match->port_count; i++) {
        text_add(&text, "%s%u", i ? " or " : "", match->ports[i].first);
        if (match->ports[i].last != match->ports[i].first)
            text_add(&text, "-%u", match->ports[i].last);
    }
    return result;
}

struct asked_text target_programs(const struct rule_match *match)
{
    struct asked_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    text_add(&text, "program ");
    for (uint32_t i = 0; i < match->program_count; i++)
        text_add(&text, "%s\"%s\"", i ? " or " : "", match->programs[i]);
    return result;
}
