/* Finds the first rule for a target. */
#include <string.h>

#include "base/hash.h"
#include "base/text.h"
#include "rules/pattern.h"
#include "rules/reader.h"

#define NONE UINT32_MAX

/* Host patterns lie in hash chains, each in the order of the rules, so that the first hit of a chain is its best. */
struct host_entry {
    const struct host_pattern *host;
    uint32_t hash, rule, next;
};

struct prefix_entry {
    struct prefix prefix;
    uint32_t rule;
};

struct index {
    uint32_t *buckets;
    uint32_t bucket_mask;
    struct host_entry *hosts;
    struct prefix_entry *prefixes; /* in the order of the rules */
    uint32_t prefix_count;
    uint32_t *open_rules; /* that name neither hosts nor addresses, in their order */
    uint32_t open_count;
    uint32_t *path_rules; /* for UNIX sockets, in their order */
    uint32_t path_count;
};

/* What of a call decides besides its target's name and address. */
struct question {
    const struct ruleset *set;
    const char *program;
    uint32_t protocol; /* PROTOCOL_BIT */
    uint16_t port;
};

static uint32_t find_by_name(const struct question *question, const char *name, uint32_t best);
static uint32_t find_in_chain(const struct question *question, const char *name, size_t length,
                              bool is_suffix, uint64_t hash, uint32_t best);
static uint32_t find_by_path(const struct question *question, const char *path);
static const char *path_of(const struct rule_match *match, const char *path);
static bool fits(const struct question *question, uint32_t rule);
static const struct port_range *port_of(const struct rule_match *match, uint16_t port);
static const struct host_pattern *host_of(const struct rule_match *match, const char *name);

/* Names are hashed from their end, so that one pass over a name gives the hash of every suffix. */
#define HASH_BEGIN 0xcbf29ce484222325ull
static uint64_t hash_add(uint64_t hash, char c)
{
    return (hash ^ (unsigned char)c) * 0x100000001b3ull;
}

const struct index *index_build(struct reader *reader, const struct ruleset *set)
{
    struct index *index = reader_get(reader, sizeof *index);
    uint32_t host_count = 0, prefix_count = 0;
    for (uint32_t i = 0; i < set->rule_count; i++) {
        host_count += set->rules[i].match.host_count;
        prefix_count += set->rules[i].match.prefix_count;
    }
    uint32_t bucket_count = 1;
    while (bucket_count < host_count)
        bucket_count *= 2;
    uint32_t *buckets = reader_get(reader, bucket_count * sizeof *buckets);
    struct host_entry *hosts = reader_get(reader, host_count * sizeof *hosts);
    struct prefix_entry *prefixes = reader_get(reader, prefix_count * sizeof *prefixes);
    uint32_t *open_rules = reader_get(reader, set->rule_count * sizeof *open_rules);
    uint32_t *path_rules = reader_get(reader, set->rule_count * sizeof *path_rules);
    if (!index || !buckets || !hosts || !prefixes || !open_rules || !path_rules)
        return NULL;
    *index = (struct index){.buckets = buckets,
                            .bucket_mask = bucket_count - 1,
                            .hosts = hosts,
                            .prefixes = prefixes,
                            .open_rules = open_rules,
                            .path_rules = path_rules};
    memset(buckets, 0xff, bucket_count * sizeof *buckets);
    uint32_t entry = 0;
    for (uint32_t i = set->rule_count; i-- > 0;) { /* from the last: each goes to the front of its chain */
        const struct rule_match *match = &set->rules[i].match;
        for (uint32_t k = 0; k < match->host_count; k++, entry++) {
            uint64_t hash = HASH_BEGIN;
            for (uint32_t at = match->hosts[k].length; at-- > 0;)
                hash = hash_add(hash, match->hosts[k].name[at]);
            hash = hash_mix(hash + match->hosts[k].is_suffix);
            uint32_t *bucket = &buckets[hash & index->bucket_mask];
            hosts[entry] = (struct host_entry){&match->hosts[k], (uint32_t)(hash >> 32), i, *bucket};
            *bucket = entry;
        }
    }
    for (uint32_t i = 0; i < set->rule_count; i++) {
        const struct rule_match *match = &set->rules[i].match;
        if (match->path_count)
            path_rules[index->path_count++] = i;
        else if (!match->host_count && !match->prefix_count)
            open_rules[index->open_count++] = i;
        for (uint32_t k = 0; k < match->prefix_count; k++)
            prefixes[index->prefix_count++] = (struct prefix_entry){match->prefixes[k], i};
    }
    return index;
}

const struct rule *ruleset_find(const struct ruleset *set, const struct target *target, const char *program)
{
    const struct index *index = set->index;
    const struct question question = {
        .set = set, .program = program, .protocol = PROTOCOL_BIT(target->protocol), .port = target->port};
    uint32_t best = set->rule_count;
    if (!(set->protocols & question.protocol))
        return NULL;
    if (target->protocol == PROTOCOL_UNIX) {
        best = target->path ? find_by_path(&question, target->path) : best;
        return best < set->rule_count ? &set->rules[best] : NULL;
    }
    for (uint32_t i = 0; i < index->open_count && index->open_rules[i] < best; i++)
        if (fits(&question, index->open_rules[i]))
            best = index->open_rules[i];
    if (target->name && set->is_any_host)
        best = find_by_name(&question, target->name, best);
    if (target->has_address)
        for (uint32_t i = 0; i < index->prefix_count && index->prefixes[i].rule < best; i++)
            if (prefix_contains(&index->prefixes[i].prefix, &target->address) &&
                fits(&question, index->prefixes[i].rule))
                best = index->prefixes[i].rule;
    return best < set->rule_count ? &set->rules[best] : NULL;
}

static uint32_t find_by_path(const struct question *question, const char *path)
{
    const struct index *index = question->set->index;
    for (uint32_t i = 0; i < index->path_count; i++) {
        uint32_t rule = index->path_rules[i];
        if (path_of(&question->set->rules[rule].match, path) && fits(question, rule))
            return rule;
    }
    return question->set->rule_count;
}

/* The lowest number of a rule below `best` that has a pattern for the name, or `best`. */
static uint32_t find_by_name(const struct question *question, const char *name, uint32_t best)
{
    size_t length = strlen(name);
    uint64_t hash = HASH_BEGIN;
    if (length == 0)
        return best;
    best = find_in_chain(question, "", 0, true, hash, best); /* "*" */
    for (size_t at = length; at-- > 0;) {
        if (name[at] == '.' && at > 0)
            best = find_in_chain(question, name + at + 1, length - at - 1, true, hash, best);
        hash = hash_add(hash, name[at]);
    }
    return find_in_chain(question, name, length, false, hash, best);
}

static uint32_t find_in_chain(const struct question *question, const char *name, size_t length,
                              bool is_suffix, uint64_t hash, uint32_t best)
{
    const struct index *index = question->set->index;
    hash = hash_mix(hash + is_suffix);
    for (uint32_t at = index->buckets[hash & index->bucket_mask]; at != NONE; at = index->hosts[at].next) {
        const struct host_entry *entry = &index->hosts[at];
        if (entry->rule >= best)
            break;
        if (entry->hash == (uint32_t)(hash >> 32) && entry->host->length == length &&
            entry->host->is_suffix == is_suffix && memcmp(entry->host->name, name, length) == 0 &&
            fits(question, entry->rule))
            return entry->rule;
    }
    return best;
}

static bool fits(const struct question *question, uint32_t rule)
{
    const struct rule_match *match = &question->set->rules[rule].match;
    if (!(match->protocols & question->protocol))
        return false;
    if (match->port_count && question->port && !port_of(match, question->port))
        return false;
    if (!match->program_count)
        return true;
    for (uint32_t i = 0; question->program && i < match->program_count; i++)
        if (pattern_matches(match->programs[i], question->program))
            return true;
    return false;
}

static const struct port_range *port_of(const struct rule_match *match, uint16_t port)
{
    for (uint32_t i = 0; i < match->port_count; i++)
        if (port >= match->ports[i].first && port <= match->ports[i].last)
            return &match->ports[i];
    return NULL;
}

static const char *path_of(const struct rule_match *match, const char *path)
{
    for (uint32_t i = 0; i < match->path_count; i++)
        if (pattern_matches(match->paths[i], path))
            return match->paths[i];
    return NULL;
}

static const struct host_pattern *host_of(const struct rule_match *match, const char *name)
{
    size_t length = strlen(name);
    for (uint32_t i = 0; i < match->host_count; i++) {
        const struct host_pattern *host = &match->hosts[i];
        if (host->is_suffix ? host_is_below(name, length, host) : strcmp(name, host->name) == 0)
            return host;
    }
    return NULL;
}

struct match_text rule_match_text(const struct rule *rule, const struct target *target)
{
    const struct rule_match *match = &rule->match;
    struct match_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    const struct host_pattern *host = target->name ? host_of(match, target->name) : NULL;
    const struct prefix *prefix = NULL;
    for (uint32_t i = 0; target->has_address && i < match->prefix_count && !prefix; i++)
        if (prefix_contains(&match->prefixes[i], &target->address))
            prefix = &match->prefixes[i];
    const struct port_range *port = target->port ? port_of(match, target->port) : NULL;
    const char *path = target->path ? path_of(match, target->path) : NULL;
    if (path)
        text_add(&text, "unix \"%s\"", path);
    else if (match->path_count)
        text_add(&text, "no UNIX socket of it");
    else if (host)
        text_add(&text, "host \"%s%s\"", !host->is_suffix ? "" : host->length ? "*." : "*", host->name);
    else if (prefix)
        text_add(&text, "address %s", prefix_text(prefix).text);
    else if (match->host_count || match->prefix_count)
        text_add(&text, "no host or address of it");
    else if (!match->port_count)
        text_add(&text, "%s", match->protocols & PROTOCOL_BIT(PROTOCOL_UDP) ? "every host" : "every target");
    const char *comma = text.length ? ", " : "";
    if (port && port->first == port->last)
        text_add(&text, "%sport %u", comma, port->first);
    else if (port)
        text_add(&text, "%sport %u-%u", comma, port->first, port->last);
    else if (match->port_count)
        text_add(&text, "%s%s", comma, target->port ? "no port of it" : "any port");
    if (match->protocols & PROTOCOL_BIT(PROTOCOL_UDP))
        text_add(&text, ", protocol %s",
                 match->protocols & PROTOCOL_BIT(PROTOCOL_TCP) ? "tcp or udp" : "udp");
    for (uint32_t i = 0; i < match->program_count; i++)
        text_add(&text, "%s\"%s\"", i ? " or " : ", program ", match->programs[i]);
    return result;
}
