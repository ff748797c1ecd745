/* resil explain: which rule a target gets, and where each of its values comes from. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "command.h"
#include "explain.h"
#include "fallbacks.h"
#include "fault_explain.h"
#include "json_out.h"
#include "ladder.h"
#include "message.h"
#include "policy/call.h"
#include "policy/random.h"
#include "rule_file.h"
#include "table.h"
#include "target.h"

struct request {
    const char *rules;
    const char *host;
    const char *program;
    const char *function;
    bool is_udp;
    bool is_json;
};

static error_t parse_option(int key, char *argument, struct argp_state *state);
static void print_match(const struct ruleset *set, const struct rule *rule, const char *host,
                        const struct asked *asked);
static void print_values(const struct rule *rule);
static void print_no_match(const struct ruleset *set, const struct asked *asked);
static void print_notes(const struct ruleset *set, const struct rule *rule, const struct asked *asked);
static void print_other_protocol(const struct ruleset *set, const struct asked *asked);
static const struct rule *first_missing(const struct ruleset *set, uint32_t end, const struct asked *asked,
                                        unsigned misses);
static void print_ladder(const struct rule *rule, struct table *table);
static void print_json(const struct ruleset *set, const struct rule *rule, const struct request *request,
                       const struct asked *asked);
static void print_json_of_bad(const struct request *request, const char *path,
                              const struct problems *problems);
static struct json_object *value_report(const char *value, const struct origin *origin);

static const struct argp_option options[] = {
    {"rules", 'r', "FILE", 0, "The rule file; else the one that programs would use now", 0},
    {"program", 'p', "NAME", 0,
     "As this program sees it; rules for certain programs match only with this option", 0},
    {"udp", 'u', NULL, 0, "What UDP gets; else it is TCP", 0},
    {"json", 'j', NULL, 0, "Print JSON", 0},
    {"function", 'f', "[LIBRARY:]SYMBOL", 0, "Instead of a HOST: what is declared for that function", 0},
    {0},
};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "HOST[:PORT]|SOCKET\n--function [LIBRARY:]SYMBOL",
    .doc = "Tells which rule a connect to HOST gets, why, every value in force, and where it was written: a "
           "place in the "
           "rule file, `defaults` with its place, or `figure`, the usual value of a section that does not "
           "name it. "
           "HOST is a name, an IPv4 or an IPv6 address ([::1]:443). Names are not looked up. SOCKET is the "
           "path of a UNIX socket, or @ and the name of an abstract one."
           "\v"
           "Exit status: 0 a rule matches, 1 none does, 2 wrong usage or a rule file with errors.",
};

int explain_command(int argc, char **argv)
{
    static struct rule_file file;
    static struct asked asked;
    struct request request = {.rules = NULL};
    if (argp_parse(&parser, argc, argv, 0, NULL, &request) != 0)
        return STATUS_UNUSABLE;
    if (request.function)
        return explain_function(request.rules, request.function, request.is_json);
    const char *wrong = target_parse(request.host, &asked);
    if (wrong) {
        complain("%s is not a target: %s", request.host, wrong);
        return STATUS_UNUSABLE;
    }
    if (request.is_udp && asked.target.protocol == PROTOCOL_UNIX) {
        complain("%s is a UNIX socket, which has no UDP", request.host);
        return STATUS_UNUSABLE;
    }
    if (request.is_udp)
        asked.target.protocol = PROTOCOL_UDP;
    asked.program = request.program;
    struct problems problems;
    rule_file_find(request.rules, &file);
    struct ruleset *set = rule_file_load(&file, &problems);
    if (!set) {
        problems_print(file.path, &problems, false, stderr);
        if (request.is_json)
            print_json_of_bad(&request, file.path, &problems);
        complain("with errors in %s no rule is in force for any host", file.path);
        return STATUS_UNUSABLE;
    }
    const struct rule *rule = ruleset_find(set, &asked.target, asked.program);
    if (request.is_json)
        print_json(set, rule, &request, &asked);
    else if (rule)
        print_match(set, rule, request.host, &asked);
    else
        print_no_match(set, &asked);
    if (!request.is_json)
        faults_print_for(set, &asked.target, asked.program, stdout);
    ruleset_free(set);
    return rule ? STATUS_GOOD : STATUS_FOUND;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    const char *slash;
    switch (key) {
    case 'r':
        request->rules = argument;
        return 0;
    case 'p': /* rules go by the file name */
        slash = strrchr(argument, '/');
        request->program = slash ? slash + 1 : argument;
        return 0;
    case 'u':
        request->is_udp = true;
        return 0;
    case 'j':
        request->is_json = true;
        return 0;
    case 'f':
        request->function = argument;
        return 0;
    case ARGP_KEY_END:
        if (request->function && request->host)
            argp_error(state, "a HOST or a --function, not both");
        return 0;
    case ARGP_KEY_ARG:
        if (request->host)
            argp_error(state, "one HOST at a time (a rule file is named with --rules)");
        request->host = argument;
        return 0;
    case ARGP_KEY_NO_ARGS:
        if (request->function)
            return 0;
        argp_error(state, "HOST is missing, for instance: resil explain payments.internal:443");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_match(const struct ruleset *set, const struct rule *rule, const char *host,
                        const struct asked *asked)
{
    struct match_text why = rule_match_text(rule, &asked->target);
    if (strcmp(set->path, BUILT_IN) == 0)
        printf("%s gets rule \"%s\" of the built-in rules: %s\n\n", host, rule->name, why.text);
    else
        printf("%s gets rule \"%s\" (%s:%u:%u): %s\n\n", host, rule->name, rule->path, rule->line,
               rule->column, why.text);
    print_values(rule);
    uint64_t worst_ns = policy_worst_case_ns(&rule->policy);
    if (asked->target.protocol == PROTOCOL_UDP)
        printf("\nA connect takes no time: with UDP it only says where datagrams go.\n");
    else if (worst_ns == NEVER)
        printf("\nNothing bounds one connect call but the kernel (about 134 s per attempt).\n");
    else
        printf("\nOne connect call takes at most %s.\n", duration_text(worst_ns).text);
    bool is_limited = rule->policy.limit.is_on && rule->policy.ladder &&
                      ladder_serves(&rule->policy.ladder->shape, LADDER_CONNECT);
    if (is_limited)
        printf("A call beyond the limit is served from the ladder; limit.error is for where that cannot.\n");
    fallbacks_print(rule, set->path, stdout);
    print_notes(set, rule, asked);
}

/* A section that is off takes one line, its parts none. */
static void print_values(const struct rule *rule)
{
    const struct policy *policy = &rule->policy;
    const char *off = "";
    struct table table = table_begin("lll");
    table.widest = 40; /* less than retry_on with all it may have */
    for (uint32_t key = 0; key < key_count; key++) {
        const struct key_info *info = &key_table[key];
        if (policy_section_is_on(policy, key)) {
            char *name = formatted("%s.%s", info->section, info->key);
            char *origin = origin_text(rule->path, &rule->origins[key]);
            table_row(&table, name, policy_value_text(policy, key).text, origin);
            free(name);
            free(origin);
        } else if (!*off || strncmp(info->section, off, strlen(off)) != 0) {
            off = info->section;
            table_row(&table, off, "off", "");
        }
    }
    if (policy->patience_ns)
        table_row(&table, "patience", duration_text(policy->patience_ns).text, "");
    char *enforced = formatted("%g%%", policy->enforce_ppm * 100.0 / PPM_ONE);
    char *origin = origin_text(rule->path, &rule->enforce_origin);
    table_row(&table, "enforce", enforced, origin);
    free(enforced);
    free(origin);
    print_ladder(rule, &table);
    table_end(&table, stdout);
}

/* Its rungs in the order in which they are tried; the error is always the last one. */
static void print_ladder(const struct rule *rule, struct table *table)
{
    const struct ladder *ladder = rule->policy.ladder;
    if (!ladder) {
        table_row(table, "degrade", "off", "");
        return;
    }
    for (uint32_t i = 0; i < ladder->shape.count; i++) {
        char *name = formatted("degrade %u", i + 1);
        char *value = ladder_rung_text(ladder, i);
        char *origin = formatted("%s:%u:%u", rule->path, ladder->rungs[i].line, ladder->rungs[i].column);
        table_row(table, name, value, origin);
        free(name);
        free(value);
        free(origin);
    }
}

char *origin_text(const char *path, const struct origin *origin)
{
    switch ((enum source)origin->source) {
    case SOURCE_FIGURE:
        return copy_of("figure");
    case SOURCE_DEFAULTS:
        return formatted("%s:%u:%u (defaults)", path, origin->line, origin->column);
    case SOURCE_RULE:
        return formatted("%s:%u:%u", path, origin->line, origin->column);
    case SOURCE_OFF:
        break;
    }
    return copy_of("");
}

static void print_no_match(const struct ruleset *set, const struct asked *asked)
{
    printf("no rule of %s matches: libresil leaves connects to this target alone.\n", set->path);
    for (uint32_t i = 0; i < set->rule_count; i++) {
        const struct rule *rule = &set->rules[i];
        unsigned misses = target_misses(&rule->match, asked);
        if (misses != MISS_PORT && misses != MISS_PROGRAM)
            continue;
        printf("Nearest is rule \"%s\" on line %u, which is for %s only%s.\n", rule->name, rule->line,
               misses == MISS_PORT ? target_ports(&rule->match).text : target_programs(&rule->match).text,
               misses == MISS_PROGRAM && !asked->program ? " (say which program: --program NAME)" : "");
        break;
    }
    print_notes(set, NULL, asked);
    print_other_protocol(set, asked);
}

/* A rule may have been meant for what was not asked about. */
static void print_other_protocol(const struct ruleset *set, const struct asked *asked)
{
    static const char *const names[] = {[PROTOCOL_TCP] = "TCP", [PROTOCOL_UDP] = "UDP"};
    struct target other = asked->target;
    if (other.protocol == PROTOCOL_UNIX)
        return;
    other.protocol = other.protocol == PROTOCOL_TCP ? PROTOCOL_UDP : PROTOCOL_TCP;
    const struct rule *rule = ruleset_find(set, &other, asked->program);
    if (rule)
        printf("With %s rule \"%s\" on line %u matches (ask %s --udp).\n", names[other.protocol], rule->name,
               rule->line, other.protocol == PROTOCOL_UDP ? "with" : "without");
}

/* What the same target may get under other circumstances, and what a name means here. */
static void print_notes(const struct ruleset *set, const struct rule *rule, const struct asked *asked)
{
    uint32_t end = rule ? (uint32_t)(rule - set->rules) : set->rule_count;
    const struct rule *by_program =
        rule && !asked->program ? first_missing(set, end, asked, MISS_PROGRAM) : NULL;
    const struct rule *by_address = asked->target.name ? first_missing(set, end, asked, MISS_TARGET) : NULL;
    if (asked->target.name && rule && rule->match.host_count)
        printf("The rule applies to connects to addresses that the program has looked up by this name.\n");
    if (rule && rule->match.port_count && !asked->target.port && !rule->match.path_count)
        printf("The rule is for %s only: connects to other ports get another one, or none (ask with "
               "HOST:PORT).\n",
               target_ports(&rule->match).text);
    if (by_program)
        printf("For %s rule \"%s\" on line %u comes first (ask with --program).\n",
               target_programs(&by_program->match).text, by_program->name, by_program->line);
    if (by_address)
        printf("Where an address of it is in %s%s, rule \"%s\" on line %u %s.\n",
               prefix_text(&by_address->match.prefixes[0]).text,
               by_address->match.prefix_count > 1 ? ", ..." : "", by_address->name, by_address->line,
               rule ? "comes first" : "matches");
    if (asked->target.has_address && set->is_any_host)
        printf("A program that has looked this address up by a name gets the rule of that name if it comes "
               "first.\n");
}

/* The first of the rules before `end` that lacks exactly that; a target may be lacking only where an address that we
 * do not know could still be it. */
static const struct rule *first_missing(const struct ruleset *set, uint32_t end, const struct asked *asked,
                                        unsigned misses)
{
    for (uint32_t i = 0; i < end; i++) {
        const struct rule_match *match = &set->rules[i].match;
        if (target_misses(match, asked) == misses && (misses != MISS_TARGET || match->prefix_count))
            return &set->rules[i];
    }
    return NULL;
}

static void print_json(const struct ruleset *set, const struct rule *rule, const struct request *request,
                       const struct asked *asked)
{
    struct json_object *report = json_new();
    json_add_text(report, "target", request->host);
    json_add_text(report, "program", request->program);
    json_add_text(report, "file", rule ? rule->path : set->path);
    json_add_text(report, "rule", rule ? rule->name : NULL);
    if (rule) {
        json_add_number(report, "line", rule->line);
        json_add_number(report, "column", rule->column);
        json_add_text(report, "why", rule_match_text(rule, &asked->target).text);
        struct json_object *values = json_new();
        for (uint32_t key = 0; key < key_count; key++) {
            char *name = formatted("%s.%s", key_table[key].section, key_table[key].key);
            json_object_object_add(
                values, name, value_report(policy_value_text(&rule->policy, key).text, &rule->origins[key]));
            free(name);
        }
        char *enforced = formatted("%g%%", rule->policy.enforce_ppm * 100.0 / PPM_ONE);
        json_object_object_add(values, "enforce", value_report(enforced, &rule->enforce_origin));
        free(enforced);
        json_object_object_add(report, "values", values);
        json_object_object_add(report, "degrade", ladder_report(rule->policy.ladder));
        json_object_object_add(report, "fallback_hosts", fallbacks_report(rule, set->path));
        bool is_udp = asked->target.protocol == PROTOCOL_UDP;
        uint64_t worst_ns = is_udp ? 0 : policy_worst_case_ns(&rule->policy);
        if (worst_ns == NEVER)
            json_add_text(report, "worst_case_ms", NULL);
        else
            json_add_ms(report, "worst_case_ms", worst_ns);
    }
    json_object_object_add(report, "faults", faults_report(set, &asked->target, asked->program));
    json_print(report, stdout);
}

static void print_json_of_bad(const struct request *request, const char *path,
                              const struct problems *problems)
{
    struct json_object *report = json_new();
    json_add_text(report, "target", request->host);
    json_add_text(report, "program", request->program);
    json_add_text(report, "file", path);
    json_add_text(report, "rule", NULL);
    json_add_number(report, "errors", problems->errors);
    json_object_object_add(report, "problems", problems_report(path, problems));
    json_print(report, stdout);
}

static struct json_object *value_report(const char *value, const struct origin *origin)
{
    static const char *const sources[] = {[SOURCE_OFF] = "off",
                                          [SOURCE_FIGURE] = "figure",
                                          [SOURCE_DEFAULTS] = "defaults",
                                          [SOURCE_RULE] = "rule"};
    struct json_object *report = json_new();
    json_add_text(report, "value", value);
    json_add_text(report, "source", sources[origin->source]);
    if (origin->line) {
        json_add_number(report, "line", origin->line);
        json_add_number(report, "column", origin->column);
    }
    return report;
}
