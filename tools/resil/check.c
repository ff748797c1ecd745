/* resil check: what is wrong with rule files, what will disappoint, and what they amount to. */
#include <argp.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "command.h"
#include "explain.h"
#include "fault_explain.h"
#include "json_out.h"
#include "message.h"
#include "policy/call.h"
#include "policy/random.h"
#include "rule_file.h"
#include "rules/fault_names.h"
#include "table.h"

struct request {
    char **files;
    int count;
    bool is_quiet;
    bool is_json;
};

struct feature_list {
    char text[160];
};

static error_t parse_option(int key, char *argument, struct argp_state *state);
static uint32_t check(const char *name, const struct request *request, struct json_object *reports);
static void print_rules(const struct ruleset *set);
static struct feature_list features_of(const struct policy *policy);
static struct json_object *report_of(const char *path, const struct ruleset *set,
                                     const struct problems *problems);
static struct json_object *rule_report(const struct rule *rule);

static const struct argp_option options[] = {
    {"quiet", 'q', NULL, 0, "Print problems only", 0},
    {"json", 'j', NULL, 0, "Print JSON", 0},
    {0},
};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "[FILE...]",
    .doc = "Finds errors and bad habits in rule files, and shows for each rule how long one connect call of "
           "a program "
           "can take and what is switched on. Without FILE: the rule file that programs would use now."
           "\v"
           "Exit status: 0 no errors, 1 errors, 2 wrong usage. Warnings alone are no errors.",
};

int check_command(int argc, char **argv)
{
    struct request request = {.count = 0};
    error_t error = argp_parse(&parser, argc, argv, 0, NULL, &request);
    if (error)
        return STATUS_UNUSABLE;
    uint32_t errors = 0;
    struct json_object *reports = request.is_json ? json_object_new_array() : NULL;
    if (request.count == 0)
        errors = check(NULL, &request, reports);
    for (int i = 0; i < request.count; i++)
        errors += check(request.files[i], &request, reports);
    if (request.is_json) {
        struct json_object *all = json_new();
        json_object_object_add(all, "files", reports);
        json_print(all, stdout);
    }
    return errors ? STATUS_FOUND : STATUS_GOOD;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    (void)argument;
    struct request *request = state->input;
    switch (key) {
    case 'q':
        request->is_quiet = true;
        return 0;
    case 'j':
        request->is_json = true;
        return 0;
    case ARGP_KEY_ARGS:
        request->files = state->argv + state->next;
        request->count = state->argc - state->next;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Gives the number of errors. */
static uint32_t check(const char *name, const struct request *request, struct json_object *reports)
{
    static struct rule_file file;
    struct problems problems;
    rule_file_find(name, &file);
    struct ruleset *set = rule_file_load(&file, &problems);
    if (set)
        ruleset_lint(set, &problems);
    if (request->is_json) {
        json_object_array_add(reports, report_of(file.path, set, &problems));
    } else {
        problems_print(file.path, &problems, true, stdout);
        if (set && !request->is_quiet)
            print_rules(set), faults_print_all(set, stdout), explain_functions(set);
        if (!request->is_quiet)
            printf("%s: %s%s%s%s%s%s%s, %s\n", file.path, set ? counted(set->rule_count, "rule").text : "",
                   set && set->function_count ? ", " : "",
                   set && set->function_count ? counted(set->function_count, "function").text : "",
                   set && fault_names(set) ? ", " : "",
                   set && fault_names(set) ? counted(fault_names(set), "fault").text : "", set ? ", " : "",
                   counted(problems.errors, "error").text, counted(problems.warnings, "warning").text);
    }
    ruleset_free(set);
    return problems.errors;
}

static void print_rules(const struct ruleset *set)
{
    if (set->rule_count == 0)
        return;
    static const char unbounded[] = "no bound (about 134 s per attempt by the kernel)";
    struct table table = table_begin("lll");
    table.widest = strlen(unbounded);
    bool has_siblings = false;
    table_row(&table, "RULE", "ONE CONNECT TAKES AT MOST", "IN FORCE");
    for (uint32_t i = 0; i < set->rule_count; i++) {
        const struct policy *policy = &set->rules[i].policy;
        bool is_udp = rule_is_for_udp_only(&set->rules[i]);
        uint64_t worst_ns = is_udp ? 0 : policy_worst_case_ns(policy);
        struct duration_text worst = duration_text(worst_ns);
        table_row(&table, set->rules[i].name,
                  is_udp              ? "no time (UDP)"
                  : worst_ns == NEVER ? unbounded
                                      : worst.text,
                  features_of(policy).text);
        has_siblings |= !is_udp && policy->retry.is_on && policy->retry.addresses == ADDRESSES_SIBLINGS &&
                        set->rules[i].match.path_count == 0 &&
                        worst_ns < (policy->timeout.total_ns ? policy->timeout.total_ns : NEVER);
    }
    table_end(&table, stdout);
    if (has_siblings)
        printf("Of a name with several addresses each one takes an attempt, until timeout.total.\n");
}

/* "timeout, retry, breaker" */
static struct feature_list features_of(const struct policy *policy)
{
    struct feature_list list;
    struct text text = text_begin(list.text, sizeof list.text);
    const char *last = "";
    for (uint32_t key = 0; key < key_count; key++) {
        const char *section = key_table[key].section;
        if (strchr(section, '.') || strcmp(section, last) == 0 || !policy_section_is_on(policy, key))
            continue;
        text_add(&text, "%s%s", *last ? ", " : "", section);
        last = section;
    }
    if (policy->ladder) {
        bool is_limited = policy->limit.is_on && ladder_serves(&policy->ladder->shape, LADDER_CONNECT);
        text_add(&text, "%sdegrade%s", *last ? ", " : "", is_limited ? " (beyond the limit too)" : "");
        last = "degrade";
    }
    if (!*last)
        text_add(&text, "nothing: left alone");
    else if (policy->enforce_ppm == 0)
        text_add(&text, "; only recorded (enforce: 0%%)");
    else if (policy->enforce_ppm < PPM_ONE)
        text_add(&text, "; for a part of the calls (enforce)");
    return list;
}

static struct json_object *report_of(const char *path, const struct ruleset *set,
                                     const struct problems *problems)
{
    struct json_object *report = json_new(), *rules = json_object_new_array();
    for (uint32_t i = 0; set && i < set->rule_count; i++)
        json_object_array_add(rules, rule_report(&set->rules[i]));
    json_add_text(report, "file", path);
    json_add_number(report, "errors", problems->errors);
    json_add_number(report, "warnings", problems->warnings);
    json_object_object_add(report, "problems", problems_report(path, problems));
    json_object_object_add(report, "rules", rules);
    json_object_object_add(report, "functions", function_reports(set));
    json_object_object_add(report, "faults", faults_report(set, NULL, NULL));
    return report;
}

static struct json_object *rule_report(const struct rule *rule)
{
    struct json_object *report = json_new(), *features = json_object_new_array();
    uint64_t worst_ns = rule_is_for_udp_only(rule) ? 0 : policy_worst_case_ns(&rule->policy);
    json_add_text(report, "name", rule->name);
    json_add_text(report, "file", rule->path);
    json_add_number(report, "line", rule->line);
    if (worst_ns == NEVER)
        json_add_text(report, "worst_case_ms", NULL);
    else
        json_add_ms(report, "worst_case_ms", worst_ns);
    for (uint32_t key = 0; key < key_count; key++)
        if (policy_section_is_on(&rule->policy, key) &&
            (key == 0 || strcmp(key_table[key - 1].section, key_table[key].section) != 0))
            json_object_array_add(features, json_object_new_string(key_table[key].section));
    json_object_object_add(report, "in_force", features);
    json_object_object_add(report, "enforce",
                           json_object_new_double((double)rule->policy.enforce_ppm / PPM_ONE));
    return report;
}
