#include "rules/pattern.h"

#include <string.h>

static const char *one_matches(const char *pattern, char c);
static const char *set_matches(const char *pattern, char c);
static bool host_is_covered(const struct host_pattern *later, const struct rule_match *earlier,
                            uint64_t *steps);
static bool prefix_is_covered(const struct prefix *later, const struct rule_match *earlier, uint64_t *steps);
static bool path_is_covered(const char *later, const struct rule_match *earlier, uint64_t *steps);
static bool port_is_covered(struct port_range later, const struct rule_match *earlier, uint64_t *steps);
static bool step(uint64_t *steps);

bool pattern_matches(const char *pattern, const char *text)
{
    /* A star first stands for nothing; when the rest does not fit, the last star takes one character more. Earlier
     * stars never need to: what they could give, the last one has already. */
    const char *star = NULL, *star_text = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            star_text = text;
            continue;
        }
        const char *next = one_matches(pattern, *text);
        if (next) {
            pattern = next;
            text++;
        } else if (star) {
            pattern = star;
            text = ++star_text;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

/* Where the pattern goes on when its first element, not a star, matches the character; else NULL. */
static const char *one_matches(const char *pattern, char c)
{
    switch (*pattern) {
    case '\0':
        return NULL;
    case '?':
        return pattern + 1;
    case '[':
        if (strchr(pattern + 1, ']'))
            return set_matches(pattern + 1, c);
        break; /* never closed: it stands for itself */
    case '\\':
        pattern += pattern[1] != '\0';
        break;
    }
    return *pattern == c ? pattern + 1 : NULL;
}

/* "a-z]" or "!a-z]"; a ] right at the beginning is one of the set. */
static const char *set_matches(const char *pattern, char c)
{
    bool is_inverted = *pattern == '!' || *pattern == '^';
    pattern += is_inverted;
    bool is_in = false, is_first = true;
    unsigned char wanted = (unsigned char)c;
    for (; *pattern && (*pattern != ']' || is_first); pattern++, is_first = false) {
        unsigned char first = (unsigned char)*pattern, last = first;
        if (pattern[1] == '-' && pattern[2] && pattern[2] != ']') {
            last = (unsigned char)pattern[2];
            pattern += 2;
        }
        is_in |= wanted >= first && wanted <= last;
    }
    if (*pattern == '\0')
        return NULL;
    return is_in != is_inverted ? pattern + 1 : NULL;
}

bool host_is_below(const char *name, size_t length, const struct host_pattern *suffix)
{
    if (suffix->length == 0)
        return length > 0;
    if (length < (size_t)suffix->length + 2)
        return false;
    const char *tail = name + length - suffix->length;
    return tail[-1] == '.' && memcmp(tail, suffix->name, suffix->length) == 0;
}

bool match_covers(const struct rule_match *earlier, const struct rule_match *later, uint64_t *steps)
{
    /* Any program, or the same ones. */
    for (uint32_t i = 0; i < earlier->program_count; i++) {
        if (i >= later->program_count || earlier->program_count != later->program_count ||
            strcmp(earlier->programs[i], later->programs[i]) != 0)
            return false;
    }
    if (later->protocols & ~earlier->protocols)
        return false;
    for (uint32_t i = 0; i < later->path_count; i++)
        if (!path_is_covered(later->paths[i], earlier, steps))
            return false;
    if (later->path_count)
        return true;
    if (earlier->port_count && !later->port_count)
        return false;
    for (uint32_t i = 0; earlier->port_count && i < later->port_count; i++)
        if (!port_is_covered(later->ports[i], earlier, steps))
            return false;
    if (!earlier->host_count && !earlier->prefix_count)
        return step(steps);
    if (!later->host_count && !later->prefix_count)
        return false;
    for (uint32_t i = 0; i < later->host_count; i++)
        if (!host_is_covered(&later->hosts[i], earlier, steps))
            return false;
    for (uint32_t i = 0; i < later->prefix_count; i++)
        if (!prefix_is_covered(&later->prefixes[i], earlier, steps))
            return false;
    return true;
}

static bool host_is_covered(const struct host_pattern *later, const struct rule_match *earlier,
                            uint64_t *steps)
{
    for (uint32_t i = 0; i < earlier->host_count && step(steps); i++) {
        const struct host_pattern *host = &earlier->hosts[i];
        bool is_same = host->is_suffix == later->is_suffix && strcmp(host->name, later->name) == 0;
        if (is_same || (host->is_suffix && later->length && host_is_below(later->name, later->length, host)))
            return true;
    }
    return false;
}

static bool prefix_is_covered(const struct prefix *later, const struct rule_match *earlier, uint64_t *steps)
{
    for (uint32_t i = 0; i < earlier->prefix_count && step(steps); i++)
        if (earlier->prefixes[i].length_bits <= later->length_bits &&
            prefix_contains(&earlier->prefixes[i], &later->address))
            return true;
    return false;
}

/* A pattern is covered by itself and by a star; a plain path by whatever matches it. */
static bool path_is_covered(const char *later, const struct rule_match *earlier, uint64_t *steps)
{
    bool is_plain = !strpbrk(later, "*?[\\");
    for (uint32_t i = 0; i < earlier->path_count && step(steps); i++) {
        const char *path = earlier->paths[i];
        if (strcmp(path, "*") == 0 || strcmp(path, later) == 0 || (is_plain && pattern_matches(path, later)))
            return true;
    }
    return false;
}

/* Ranges may cover it together, so go on from the end of each that holds its beginning. */
static bool port_is_covered(struct port_range later, const struct rule_match *earlier, uint64_t *steps)
{
    uint32_t from = later.first;
    for (uint32_t i = 0; i < earlier->port_count && step(steps); i++) {
        if (from < earlier->ports[i].first || from > earlier->ports[i].last)
            continue;
        from = earlier->ports[i].last + 1u;
        if (from > later.last)
            return true;
        i = UINT32_MAX; /* from the first again */
    }
    return false;
}

static bool step(uint64_t *steps)
{
    if (*steps == 0)
        return false;
    --*steps;
    return true;
}
