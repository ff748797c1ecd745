#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "rules/pattern.h"
#include "rules/rules.h"
#include "suite.h"

static struct problems problems;

static struct ruleset *rules_of(const char *rules)
{
    static char buffer[20000];
    struct text text = text_begin(buffer, sizeof buffer);
    text_add(&text, "version: 1\nrules:\n%s", rules);
    struct ruleset *set = ruleset_parse(buffer, text.length, "test.yaml", 0, &problems);
    ck_assert_msg(set != NULL, "%u: %s", problems.items[0].line, problems.items[0].text);
    return set;
}

static struct target target_of(const char *name, const char *address, uint16_t port)
{
    struct target target = {.name = name, .port = port, .has_address = address != NULL};
    if (address)
        ck_assert(address_parse(address, &target.address));
    return target;
}

/* The name of the rule, or "none". */
static const char *find(const struct ruleset *set, const char *name, const char *address, uint16_t port,
                        const char *program)
{
    struct target target = target_of(name, address, port);
    const struct rule *rule = ruleset_find(set, &target, program);
    return rule ? rule->name : "none";
}

TEST(the_first_rule_that_matches_wins)
{
    struct ruleset *set = rules_of("  - {name: first, match: {host: a.x}}\n"
                                   "  - {name: wide, match: {host: '*.x'}}\n"
                                   "  - {name: too_late, match: {host: b.x}}\n"
                                   "  - {name: rest, match: {}}\n");
    ck_assert_str_eq(find(set, "a.x", NULL, 80, "p"), "first");
    ck_assert_str_eq(find(set, "b.x", NULL, 80, "p"), "wide");
    ck_assert_str_eq(find(set, "c.y", NULL, 80, "p"), "rest");
    ck_assert_str_eq(find(set, NULL, "10.0.0.1", 80, "p"), "rest");
    ruleset_free(set);
}
END_TEST

TEST(a_suffix_means_everything_below_and_not_itself)
{
    struct ruleset *set = rules_of("  - {name: a, match: {host: '*.Example.COM.'}}\n");
    ck_assert_str_eq(find(set, "www.example.com", NULL, 0, "p"), "a");
    ck_assert_str_eq(find(set, "a.b.c.example.com", NULL, 0, "p"), "a");
    ck_assert_str_eq(find(set, "example.com", NULL, 0, "p"), "none");
    ck_assert_str_eq(find(set, "notexample.com", NULL, 0, "p"), "none");
    ck_assert_str_eq(find(set, "www.example.com.evil", NULL, 0, "p"), "none");
    ck_assert_str_eq(find(set, ".example.com", NULL, 0, "p"), "none");
    ruleset_free(set);
}
END_TEST

TEST(a_star_is_any_name_but_not_a_bare_address)
{
    struct ruleset *set = rules_of("  - {name: a, match: {host: '*'}}\n");
    ck_assert_str_eq(find(set, "x", NULL, 0, "p"), "a");
    ck_assert_str_eq(find(set, "x.y.z", "10.0.0.1", 0, "p"), "a");
    ck_assert_str_eq(find(set, NULL, "10.0.0.1", 0, "p"), "none");
    ck_assert_str_eq(find(set, "", "10.0.0.1", 0, "p"), "none");
    ruleset_free(set);
}
END_TEST

TEST(names_match_whatever_their_case_and_dot_in_the_file)
{
    struct ruleset *set = rules_of("  - {name: a, match: {host: [Payments.Internal., MY_service]}}\n");
    ck_assert_str_eq(find(set, "payments.internal", NULL, 0, "p"), "a");
    ck_assert_str_eq(find(set, "my_service", NULL, 0, "p"), "a");
    ruleset_free(set);
}
END_TEST

TEST(host_or_address_is_enough)
{
    struct ruleset *set = rules_of("  - {name: a, match: {host: a.x, address: 10.0.0.0/8}}\n");
    ck_assert_str_eq(find(set, "a.x", "192.0.2.1", 0, "p"), "a");
    ck_assert_str_eq(find(set, "b.x", "10.1.1.1", 0, "p"), "a");
    ck_assert_str_eq(find(set, NULL, "10.1.1.1", 0, "p"), "a");
    ck_assert_str_eq(find(set, "b.x", "192.0.2.1", 0, "p"), "none");
    ck_assert_str_eq(find(set, NULL, NULL, 0, "p"), "none");
    ruleset_free(set);
}
END_TEST

TEST(a_lookup_only_matches_hosts)
{
    struct ruleset *set = rules_of("  - {name: net, match: {address: 0.0.0.0/0}}\n"
                                   "  - {name: host, match: {host: a.x}}\n"
                                   "  - {name: rest, match: {port: 443}}\n");
    ck_assert_str_eq(find(set, "a.x", NULL, 0, "p"), "host");
    ck_assert_str_eq(find(set, "b.x", NULL, 0, "p"), "rest");
    ruleset_free(set);
}
END_TEST

TEST(a_literal_address_as_host_is_an_address)
{
    struct ruleset *set = rules_of("  - {name: a, match: {host: [10.0.0.7, '[2001:db8::1]', '::2']}}\n");
    ck_assert_uint_eq(set->rules[0].match.host_count, 0);
    ck_assert(!set->is_any_host);
    ck_assert_str_eq(find(set, NULL, "10.0.0.7", 80, "p"), "a");
    ck_assert_str_eq(find(set, NULL, "::ffff:10.0.0.7", 80, "p"), "a");
    ck_assert_str_eq(find(set, "whatever", "2001:db8::1", 80, "p"), "a");
    ck_assert_str_eq(find(set, NULL, "::2", 80, "p"), "a");
    ck_assert_str_eq(find(set, NULL, "10.0.0.8", 80, "p"), "none");
    ruleset_free(set);
}
END_TEST

TEST(ports_restrict_and_port_0_matches_any)
{
    struct ruleset *set = rules_of("  - {name: a, match: {host: x, port: [443, 8000-8100]}}\n"
                                   "  - {name: b, match: {port: 53}}\n");
    ck_assert_str_eq(find(set, "x", NULL, 443, "p"), "a");
    ck_assert_str_eq(find(set, "x", NULL, 8000, "p"), "a");
    ck_assert_str_eq(find(set, "x", NULL, 8100, "p"), "a");
    ck_assert_str_eq(find(set, "x", NULL, 8101, "p"), "none");
    ck_assert_str_eq(find(set, "x", NULL, 0, "p"), "a");
    ck_assert_str_eq(find(set, "y", NULL, 53, "p"), "b");
    ruleset_free(set);
}
END_TEST

TEST(programs_restrict)
{
    struct ruleset *set = rules_of("  - {name: a, match: {program: ['worker*', curl]}}\n");
    ck_assert_str_eq(find(set, "x", NULL, 1, "worker-7"), "a");
    ck_assert_str_eq(find(set, "x", NULL, 1, "curl"), "a");
    ck_assert_str_eq(find(set, "x", NULL, 1, "curly"), "none");
    ck_assert_str_eq(find(set, "x", NULL, 1, NULL), "none");
    ruleset_free(set);
}
END_TEST

static const char *find_unix(const struct ruleset *set, const char *path, const char *program)
{
    struct target target = {.protocol = PROTOCOL_UNIX, .path = path};
    const struct rule *rule = ruleset_find(set, &target, program);
    return rule ? rule->name : "none";
}

TEST(unix_sockets_get_only_rules_that_name_their_path)
{
    struct ruleset *set = rules_of("  - {name: all, match: {}}\n"
                                   "  - {name: udp, match: {protocol: [udp, tcp]}}\n"
                                   "  - {name: db, match: {unix: [/run/db.sock, '@db*']}}\n"
                                   "  - {name: curl, match: {unix: '/run/*', program: curl}}\n"
                                   "  - {name: run, match: {unix: '/run/*.sock'}}\n");
    ck_assert_str_eq(find_unix(set, "/run/db.sock", "p"), "db");
    ck_assert_str_eq(find_unix(set, "@db1", "p"), "db");
    ck_assert_str_eq(find_unix(set, "/run/x.sock", "curl"), "curl");
    ck_assert_str_eq(find_unix(set, "/run/x.sock", "p"), "run");
    ck_assert_str_eq(find_unix(set, "/run/below/x.sock", "p"), "run");
    ck_assert_str_eq(find_unix(set, "/tmp/x.sock", "p"), "none");
    ck_assert_str_eq(find_unix(set, NULL, "p"), "none");
    ck_assert_str_eq(find(set, NULL, "10.0.0.1", 1, "p"), "all");
    struct target target = {.protocol = PROTOCOL_UNIX, .path = "@db"};
    ck_assert_str_eq(rule_match_text(&set->rules[2], &target).text, "unix \"@db*\"");
    ck_assert_uint_eq(set->protocols,
                      PROTOCOL_BIT(PROTOCOL_TCP) | PROTOCOL_BIT(PROTOCOL_UDP) | PROTOCOL_BIT(PROTOCOL_UNIX));
    ruleset_free(set);
}
END_TEST

TEST(udp_gets_only_rules_that_name_it)
{
    struct ruleset *set = rules_of("  - {name: dns, match: {protocol: udp, port: 53}}\n"
                                   "  - {name: host, match: {host: a.x}}\n"
                                   "  - {name: both, match: {protocol: [tcp, udp], host: '*'}}\n"
                                   "  - {name: all, match: {}}\n");
    struct target target = target_of("a.x", "10.0.0.1", 53);
    ck_assert_str_eq(ruleset_find(set, &target, "p")->name, "host");
    target.protocol = PROTOCOL_UDP;
    ck_assert_str_eq(ruleset_find(set, &target, "p")->name, "dns");
    ck_assert_str_eq(rule_match_text(&set->rules[0], &target).text, "port 53, protocol udp");
    target.port = 54;
    ck_assert_str_eq(ruleset_find(set, &target, "p")->name, "both");
    ck_assert_str_eq(rule_match_text(&set->rules[2], &target).text, "host \"*\", protocol tcp or udp");
    target.name = NULL;
    ck_assert_ptr_null(ruleset_find(set, &target, "p"));
    ruleset_free(set);
    set = rules_of("  - {name: all, match: {}}\n");
    target.port = 53;
    ck_assert_ptr_null(ruleset_find(set, &target, "p"));
    ruleset_free(set);
}
END_TEST

TEST(patterns_are_those_of_the_shell)
{
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "abc", true},
        {"a*c", "abbbc", true},
        {"a*c", "abbb", false},
        {"a?c", "abc", true},
        {"a?c", "ac", false},
        {"*a*b*", "xxaxxbxx", true},
        {"*a*b*", "xxbxxaxx", false},
        {"[abc]x", "bx", true},
        {"[abc]x", "dx", false},
        {"[a-f]", "e", true},
        {"[!a-f]", "e", false},
        {"[!a-f]", "z", true},
        {"[]]", "]", true},
        {"[a-]", "-", true},
        {"[x", "[x", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"a**b", "ab", true},
        {"python3.[0-9]*", "python3.12", true},
        {"[!]]", "a", true},
        {"[", "[", true},
        {"\\", "\\", true},
        {"[]", "]", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(pattern_matches(cases[i].pattern, cases[i].text) == cases[i].matches, "%s against %s",
                      cases[i].pattern, cases[i].text);
    /* No pattern takes for ever. */
    ck_assert(!pattern_matches("*a*a*a*a*a*a*a*a*a*a*a*a*b",
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}
END_TEST

TEST(a_match_is_explained)
{
    struct ruleset *set = rules_of("  - {name: a, match: {host: ['*.x', b.y, '*'], address: 10.0.0.0/8}}\n"
                                   "  - {name: b, match: {}}\n"
                                   "  - {name: c, match: {port: [443, 8000-8100], program: [curl, 'w*']}}\n");
    static const struct {
        unsigned rule;
        const char *name, *address;
        uint16_t port;
        const char *text;
    } cases[] = {
        {0, "a.x", NULL, 0, "host \"*.x\""},
        {0, "b.y", NULL, 0, "host \"b.y\""},
        {0, "z", NULL, 0, "host \"*\""},
        {0, NULL, "10.1.1.1", 0, "address 10.0.0.0/8"},
        {0, NULL, "192.0.2.1", 0, "no host or address of it"},
        {1, "a", NULL, 0, "every target"},
        {2, "a", NULL, 443, "port 443, program \"curl\" or \"w*\""},
        {2, "a", NULL, 8001, "port 8000-8100, program \"curl\" or \"w*\""},
        {2, "a", NULL, 0, "any port, program \"curl\" or \"w*\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct target target = target_of(cases[i].name, cases[i].address, cases[i].port);
        ck_assert_str_eq(rule_match_text(&set->rules[cases[i].rule], &target).text, cases[i].text);
    }
    ruleset_free(set);
}
END_TEST

/* What rules.h promises, said as plainly as possible. */
static bool plainly_matches(const struct rule *rule, const struct target *target, const char *program)
{
    const struct rule_match *match = &rule->match;
    if (!(match->protocols & PROTOCOL_BIT(target->protocol)))
        return false;
    if (target->protocol == PROTOCOL_UNIX) {
        bool is_one = false, is_its_program = !match->program_count;
        for (uint32_t i = 0; target->path && i < match->path_count; i++)
            is_one |= pattern_matches(match->paths[i], target->path);
        for (uint32_t i = 0; i < match->program_count; i++)
            is_its_program |= pattern_matches(match->programs[i], program);
        return is_one && is_its_program;
    }
    bool is_target = !match->host_count && !match->prefix_count;
    for (uint32_t i = 0; target->name && i < match->host_count; i++) {
        const struct host_pattern *host = &match->hosts[i];
        size_t length = strlen(target->name);
        if (!host->is_suffix)
            is_target |= strcmp(target->name, host->name) == 0;
        else if (host->length == 0)
            is_target = true;
        else if (length > host->length + 1u)
            is_target |= strcmp(target->name + length - host->length, host->name) == 0 &&
                         target->name[length - host->length - 1] == '.';
    }
    for (uint32_t i = 0; target->has_address && i < match->prefix_count; i++)
        is_target |= prefix_contains(&match->prefixes[i], &target->address);
    bool is_port = !match->port_count || !target->port, is_program = !match->program_count;
    for (uint32_t i = 0; i < match->port_count; i++)
        is_port |= target->port >= match->ports[i].first && target->port <= match->ports[i].last;
    for (uint32_t i = 0; i < match->program_count; i++)
        is_program |= pattern_matches(match->programs[i], program);
    return is_target && is_port && is_program;
}

static const char *any_of(const char *const *items, size_t count)
{
    return items[(size_t)random() % count];
}
#define ANY_OF(items) any_of(items, sizeof(items) / sizeof(items)[0])

static void add_random_rules(struct text *text, unsigned count)
{
    static const char *const hosts[] = {"a",   "b.a", "c.b.a", "'*.a'",   "'*.b.a'",
                                        "'*'", "x.y", "'*.y'", "10.0.0.1"};
    static const char *const addresses[] = {
        "10.0.0.0/8",      "10.0.0.1",          "0.0.0.0/0",         "'::/0'",          "'::1'",
        "10.0.0.0/31",     "'2001:db8::/32'",   "'2001:db8::/64'",   "'2001:db8::/65'", "'::ffff:0:0/96'",
        "'2001:db8::/63'", "'2001:db8::1/128'", "'2001:db8::0/127'", "'::/80'",         "10.9.9.8/30"};
    static const char *const ports[] = {"80", "443", "80-443", "1-65535"};
    static const char *const programs[] = {"p", "'*'", "q", "'?'"};
    static const char *const paths[] = {"/a", "'/*'", "'*b'", "'@a'", "'*'"};
    for (unsigned i = 0; i < count; i++) {
        text_add(text, "  - name: r%u\n    match: {", i);
        if (random() % 5 == 0) {
            text_add(text, "unix: [%s, %s]}\n", ANY_OF(paths), ANY_OF(paths));
            continue;
        }
        if (random() % 3 == 0)
            text_add(text, "protocol: %s, ", random() % 2 ? "udp" : "[udp, tcp]");
        if (random() % 3)
            text_add(text, "host: [%s, %s], ", ANY_OF(hosts), ANY_OF(hosts));
        if (random() % 4 == 0)
            text_add(text, "address: [%s, %s], ", ANY_OF(addresses), ANY_OF(addresses));
        if (random() % 3 == 0)
            text_add(text, "port: [%s], ", ANY_OF(ports));
        if (random() % 3 == 0)
            text_add(text, "program: [%s], ", ANY_OF(programs));
        text_add(text, "}\n");
    }
}

static void choose_protocol(struct target *target)
{
    static const char *const paths[] = {"/a", "/b", "@a", "/a/b"};
    target->protocol = (enum protocol)(random() % 3);
    target->path = target->protocol == PROTOCOL_UNIX ? ANY_OF(paths) : NULL;
}

TEST(the_index_finds_what_a_plain_search_finds)
{
    static const char *const names[] = {"a", "b.a", "c.b.a", "d.c.b.a", "y", "x.y", "z", "aa", "b.aa"};
    static const char *const addresses[] = {"10.0.0.1",
                                            "10.0.0.0",
                                            "10.9.9.9",
                                            "192.0.2.1",
                                            "::1",
                                            "2001:db8::1",
                                            "2001:db8::2",
                                            "2001:db8:0:1::1",
                                            "2001:db8::8000:0:0:1",
                                            "::2:0:0:1",
                                            "2001:db8:8000::1:1",
                                            "::fffe:10.0.0.1"};
    static const uint16_t ports[] = {0, 80, 443, 1, 100};
    static const char *const programs[] = {"p", "q", "long"};
    srandom(4);
    for (unsigned round = 0; round < 500; round++) {
        char buffer[8000];
        struct text text = text_begin(buffer, sizeof buffer);
        add_random_rules(&text, 1 + (unsigned)random() % 12);
        struct ruleset *set = rules_of(buffer);
        for (unsigned i = 0; i < 200; i++) {
            struct target target = target_of(random() % 4 ? ANY_OF(names) : NULL,
                                             random() % 4 ? ANY_OF(addresses) : NULL, ports[random() % 5]);
            choose_protocol(&target);
            const char *program = ANY_OF(programs);
            const struct rule *expected = NULL;
            for (uint32_t r = 0; r < set->rule_count && !expected; r++)
                if (plainly_matches(&set->rules[r], &target, program))
                    expected = &set->rules[r];
            ck_assert_msg(ruleset_find(set, &target, program) == expected, "%s%s:%u in\n%s",
                          target.name ? target.name : "-",
                          target.has_address ? address_text(&target.address).text : "", target.port, buffer);
        }
        ruleset_free(set);
    }
}
END_TEST

TEST(a_rule_that_is_called_covered_never_matches)
{
    static const char *const names[] = {"a", "b.a", "c.b.a", "d.c.b.a", "y", "x.y", "z"};
    static const char *const addresses[] = {"10.0.0.1",  "10.0.0.0", "10.9.9.9",
                                            "192.0.2.1", "::1",      "2001:db8::1"};
    static const uint16_t ports[] = {0, 80, 443, 1, 100};
    static const char *const programs[] = {"p", "q", "long"};
    unsigned covered = 0;
    srandom(5);
    for (unsigned round = 0; round < 3000; round++) {
        char buffer[8000];
        struct text text = text_begin(buffer, sizeof buffer);
        add_random_rules(&text, 2);
        struct ruleset *set = rules_of(buffer);
        uint64_t steps = 1000;
        if (match_covers(&set->rules[0].match, &set->rules[1].match, &steps)) {
            covered++;
            for (unsigned i = 0; i < 200; i++) {
                struct target target =
                    target_of(random() % 4 ? ANY_OF(names) : NULL, random() % 4 ? ANY_OF(addresses) : NULL,
                              ports[random() % 5]);
                choose_protocol(&target);
                ck_assert_msg(ruleset_find(set, &target, ANY_OF(programs)) != &set->rules[1], "%s", buffer);
            }
        }
        ruleset_free(set);
    }
    ck_assert_uint_ge(covered, 50);
}
END_TEST

SUITE("find", the_first_rule_that_matches_wins, a_suffix_means_everything_below_and_not_itself,
      a_star_is_any_name_but_not_a_bare_address, names_match_whatever_their_case_and_dot_in_the_file,
      host_or_address_is_enough, a_lookup_only_matches_hosts, a_literal_address_as_host_is_an_address,
      ports_restrict_and_port_0_matches_any, programs_restrict,
      unix_sockets_get_only_rules_that_name_their_path, udp_gets_only_rules_that_name_it,
      patterns_are_those_of_the_shell, a_match_is_explained, the_index_finds_what_a_plain_search_finds,
      a_rule_that_is_called_covered_never_matches)
