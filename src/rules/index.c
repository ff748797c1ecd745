/* Finds the first rule for a target. */
#include <endian.h>
#include <string.h>

#include "base/hash.h"
#include "base/text.h"
#include "rules/pattern.h"
#include "rules/reader.h"

#define NONE UINT32_MAX

/* What rules ask for lies in hash chains, each in the order of the rules, so that the first hit of a chain is its best. */
struct table {
    uint32_t *buckets;
    uint32_t mask;
};

struct host_entry {
    const struct host_pattern *host;
    uint32_t hash, rule, next;
};

/* An address as two numbers, its first byte on top. */
struct words {
    uint64_t high, low;
};

struct prefix_entry {
    struct words words; /* bits beyond the length are 0 */
    uint32_t length_bits, rule, next;
};

struct port_entry {
    uint32_t port, rule, next;
};

enum { PREFIX_LENGTHS = 129 };

struct index {
    struct table by_host, by_prefix, by_port;
    struct host_entry *hosts;
    struct prefix_entry *prefixes;
    uint8_t lengths[PREFIX_LENGTHS]; /* of prefixes that there are */
    uint32_t length_count;
    uint32_t port_count;
    struct port_entry *ports; /* single ports of rules that name neither hosts nor addresses */
    uint32_t *open_rules;     /* all of these rules, in their order */
    uint32_t open_count;
    uint32_t *wide_rules; /* those of them that name no port, or a range */
    uint32_t wide_count;
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
static uint32_t find_by_prefix(const struct question *question, const struct address *address, uint32_t best);
static uint32_t find_by_port(const struct question *question, uint32_t best);
static uint32_t find_in_list(const struct question *question, const uint32_t *rules, uint32_t count,
                             uint32_t best);
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

static struct words words_of(const struct address *address)
{
    struct words words;
    memcpy(&words, address->bytes, sizeof words);
    return (struct words){be64toh(words.high), be64toh(words.low)};
}

static struct words cut(struct words words, unsigned length_bits)
{
    if (length_bits < 64)
        return (struct words){words.high & ~(UINT64_MAX >> length_bits), 0};
    if (length_bits < 128)
        words.low &= ~(UINT64_MAX >> (length_bits - 64));
    return words;
}

static uint64_t hash_prefix(struct words words, unsigned length_bits)
{
    return hash_mix((words.high + length_bits) * 0x9fb21c651e98df25ull ^ words.low);
}

static bool is_wide(const struct rule_match *match)
{
    bool has_range = match->port_count == 0;
    for (uint32_t i = 0; i < match->port_count; i++)
        has_range |= match->ports[i].first != match->ports[i].last;
    return has_range;
}

static bool is_open(const struct rule_match *match)
{
    return !match->host_count && !match->prefix_count && !match->path_count;
}

static bool table_get(struct reader *reader, struct table *table, uint32_t entries)
{
    uint32_t size = 1;
    while (size < entries)
        size *= 2;
    table->mask = size - 1;
    table->buckets = reader_get(reader, size * sizeof *table->buckets);
    if (table->buckets)
        memset(table->buckets, 0xff, size * sizeof *table->buckets);
    return table->buckets != NULL;
}

/* Puts the entry in front of its chain, and gives what was in front before. */
static uint32_t table_push(struct table *table, uint64_t hash, uint32_t entry)
{
    uint32_t *bucket = &table->buckets[hash & table->mask], before = *bucket;
    *bucket = entry;
    return before;
}

static void add_hosts(struct index *index, const struct rule_match *match, uint32_t rule, uint32_t *entry)
{
    for (uint32_t i = 0; i < match->host_count; i++, ++*entry) {
        const struct host_pattern *host = &match->hosts[i];
        uint64_t hash = HASH_BEGIN;
        for (uint32_t at = host->length; at-- > 0;)
            hash = hash_add(hash, host->name[at]);
        hash = hash_mix(hash + host->is_suffix);
        index->hosts[*entry] = (struct host_entry){host, (uint32_t)(hash >> 32), rule,
                                                   table_push(&index->by_host, hash, *entry)};
    }
}

static void add_prefixes(struct index *index, const struct rule_match *match, uint32_t rule, uint32_t *entry)
{
    for (uint32_t i = 0; i < match->prefix_count; i++, ++*entry) {
        const struct prefix *prefix = &match->prefixes[i];
        struct words words = words_of(&prefix->address);
        uint64_t hash = hash_prefix(words, prefix->length_bits);
        index->prefixes[*entry] = (struct prefix_entry){words, prefix->length_bits, rule,
                                                        table_push(&index->by_prefix, hash, *entry)};
        if (!memchr(index->lengths, prefix->length_bits, index->length_count))
            index->lengths[index->length_count++] = prefix->length_bits;
    }
}

static void add_ports(struct index *index, const struct rule_match *match, uint32_t rule, uint32_t *entry)
{
    for (uint32_t i = 0; i < match->port_count; i++, ++*entry) {
        uint16_t port = match->ports[i].first;
        index->ports[*entry] =
            (struct port_entry){port, rule, table_push(&index->by_port, hash_mix(port), *entry)};
    }
}

const struct index *index_build(struct reader *reader, const struct ruleset *set)
{
    struct index *index = reader_get(reader, sizeof *index);
    uint32_t host_count = 0, prefix_count = 0, port_count = 0;
    for (uint32_t i = 0; i < set->rule_count; i++) {
        const struct rule_match *match = &set->rules[i].match;
        host_count += match->host_count;
        prefix_count += match->prefix_count;
        port_count += is_open(match) && !is_wide(match) ? match->port_count : 0;
    }
    if (!index || !table_get(reader, &index->by_host, host_count) ||
        !table_get(reader, &index->by_prefix, prefix_count) ||
        !table_get(reader, &index->by_port, port_count))
        return NULL;
    index->port_count = port_count;
    index->hosts = reader_get(reader, host_count * sizeof *index->hosts);
    index->prefixes = reader_get(reader, prefix_count * sizeof *index->prefixes);
    index->ports = reader_get(reader, port_count * sizeof *index->ports);
    index->open_rules = reader_get(reader, set->rule_count * sizeof *index->open_rules);
    index->wide_rules = reader_get(reader, set->rule_count * sizeof *index->wide_rules);
    index->path_rules = reader_get(reader, set->rule_count * sizeof *index->path_rules);
    if (reader->is_out_of_memory)
        return NULL;
    uint32_t host = 0, prefix = 0, port = 0;
    for (uint32_t i = set->rule_count; i-- > 0;) { /* from the last: each goes to the front of its chain */
        const struct rule_match *match = &set->rules[i].match;
        add_hosts(index, match, i, &host);
        add_prefixes(index, match, i, &prefix);
        if (is_open(match) && !is_wide(match))
            add_ports(index, match, i, &port);
    }
    for (uint32_t i = 0; i < set->rule_count; i++) {
        const struct rule_match *match = &set->rules[i].match;
        if (match->path_count)
            index->path_rules[index->path_count++] = i;
        if (is_open(match))
            index->open_rules[index->open_count++] = i;
        if (is_open(match) && is_wide(match))
            index->wide_rules[index->wide_count++] = i;
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
    if (target->port) {
        best = find_in_list(&question, index->wide_rules, index->wide_count, best);
        best = index->port_count ? find_by_port(&question, best) : best;
    } else {
        best = find_in_list(&question, index->open_rules, index->open_count, best);
    }
    if (target->name && set->is_any_host)
        best = find_by_name(&question, target->name, best);
    if (target->has_address)
        best = find_by_prefix(&question, &target->address, best);
    return best < set->rule_count ? &set->rules[best] : NULL;
}

static uint32_t find_in_list(const struct question *question, const uint32_t *rules, uint32_t count,
                             uint32_t best)
{
    for (uint32_t i = 0; i < count && rules[i] < best; i++)
        if (fits(question, rules[i]))
            return rules[i];
    return best;
}

static uint32_t find_by_port(const struct question *question, uint32_t best)
{
    const struct index *index = question->set->index;
    uint32_t at = index->by_port.buckets[hash_mix(question->port) & index->by_port.mask];
    for (; at != NONE && index->ports[at].rule < best; at = index->ports[at].next)
        if (index->ports[at].port == question->port && fits(question, index->ports[at].rule))
            return index->ports[at].rule;
    return best;
}

/* One chain for each length that there is. */
static uint32_t find_by_prefix(const struct question *question, const struct address *address, uint32_t best)
{
    const struct index *index = question->set->index;
    const struct words whole = words_of(address);
    bool is_v4 = whole.high == 0 && whole.low >> 32 == 0xffff;
    for (uint32_t i = 0; i < index->length_count; i++) {
        unsigned length = index->lengths[i];
        if (is_v4 && length < ADDRESS_V4_BITS)
            continue; /* an IPv6 prefix: IPv4 addresses are not in it */
        struct words words = cut(whole, length);
        uint32_t at = index->by_prefix.buckets[hash_prefix(words, length) & index->by_prefix.mask];
        for (; at != NONE && index->prefixes[at].rule < best; at = index->prefixes[at].next) {
            const struct prefix_entry *entry = &index->prefixes[at];
            if (entry->length_bits == length && entry->words.high == words.high &&
                entry->words.low == words.low && fits(question, entry->rule)) {
                best = entry->rule;
                break;
            }
        }
    }
    return best;
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
    for (uint32_t at = index->by_host.buckets[hash & index->by_host.mask]; at != NONE;
         at = index->hosts[at].next) {
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
