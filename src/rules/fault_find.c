/* Which faults are for a target: not the first that matches, but all. */
#include <string.h>

#include "rules/faults.h"
#include "rules/pattern.h"

#define DNS_PORT 53u

static bool is_program(const struct rule_match *match, const char *program);
static bool is_target(const struct rule_match *match, const struct target *target);
static bool is_port(const struct rule_match *match, uint16_t port);
static bool is_path(const struct rule_match *match, const char *path);

bool fault_matches(const struct fault *fault, const struct target *target, const char *program)
{
    const struct rule_match *match = &fault->match;
    bool names_target = match->host_count || match->prefix_count || match->port_count || match->path_count;
    if (match->program_count && !is_program(match, program))
        return false;
    if (!target)
        return !names_target;
    if (!(match->protocols & PROTOCOL_BIT(target->protocol)))
        return false;
    if (target->protocol == PROTOCOL_UNIX)
        return target->path && is_path(match, target->path);
    if (match->port_count && target->port && !is_port(match, target->port))
        return false;
    /* Whoever breaks "everything" does not mean the resolver: nothing would be found any more. */
    if (target->port == DNS_PORT && !match->port_count)
        return false;
    return is_target(match, target);
}

bool fault_may_match(const struct fault *fault, enum protocol protocol, const char *program)
{
    const struct rule_match *match = &fault->match;
    return match->protocols & PROTOCOL_BIT(protocol) && (!match->program_count || is_program(match, program));
}

static bool is_program(const struct rule_match *match, const char *program)
{
    for (uint32_t i = 0; program && i < match->program_count; i++)
        if (pattern_matches(match->programs[i], program))
            return true;
    return false;
}

static bool is_target(const struct rule_match *match, const struct target *target)
{
    if (!match->host_count && !match->prefix_count)
        return true;
    for (uint32_t i = 0; target->has_address && i < match->prefix_count; i++)
        if (prefix_contains(&match->prefixes[i], &target->address))
            return true;
    size_t length = target->name ? strlen(target->name) : 0;
    for (uint32_t i = 0; length && i < match->host_count; i++) {
        const struct host_pattern *host = &match->hosts[i];
        if (host->is_suffix ? host_is_below(target->name, length, host)
                            : strcmp(target->name, host->name) == 0)
            return true;
    }
    return false;
}

static bool is_port(const struct rule_match *match, uint16_t port)
{
    for (uint32_t i = 0; i < match->port_count; i++)
        if (port >= match->ports[i].first && port <= match->ports[i].last)
            return true;
    return false;
}

static bool is_path(const struct rule_match *match, const char *path)
{
    for (uint32_t i = 0; i < match->path_count; i++)
        if (pattern_matches(match->paths[i], path))
            return true;
    return false;
}
