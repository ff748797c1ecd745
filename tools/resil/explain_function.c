/* resil explain --function: what is declared for a function. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "command.h"
#include "explain.h"
#include "json_out.h"
#include "message.h"
#include "policy/random.h"
#include "rule_file.h"
#include "rules/fault_names.h"
#include "table.h"

static const struct function *find(const struct ruleset *set, const char *wanted);
static void print_function(const struct function *function);
static void print_values(const struct function *function, struct table *table);
static bool is_of_functions(uint32_t key);
static char *failure_of(const struct function *function);
static char *fallback_of(const struct function *function);
static char *target_of(const struct function *function);
static char *faults_of(const struct function *function);
static struct json_object *report_of(const struct function *function);

int explain_function(const char *rules, const char *wanted, bool is_json)
{
    static struct rule_file file;
    struct problems problems;
    rule_file_find(rules, &file);
    struct ruleset *set = rule_file_load(&file, &problems);
    if (!set) {
        problems_print(file.path, &problems, false, stderr);
        complain("with errors in %s no function is wrapped", file.path);
        return STATUS_UNUSABLE;
    }
    const struct function *function = find(set, wanted);
    if (is_json) {
        struct json_object *report = function ? report_of(function) : json_new();
        json_add_text(report, "function", wanted);
        json_print(report, stdout);
    } else if (function) {
        print_function(function);
    } else {
        printf("no function of %s is meant by %s: libresil leaves it alone.\n", set->path, wanted);
    }
    ruleset_free(set);
    return function ? STATUS_GOOD : STATUS_FOUND;
}

void explain_functions(const struct ruleset *set)
{
    struct table table = table_begin("lll");
    if (set->function_count == 0)
        return;
    table_row(&table, "FUNCTION", "SYMBOL", "FAILS WHEN IT RETURNS");
    for (uint32_t i = 0; i < set->function_count; i++) {
        char *failure = failure_of(&set->functions[i]);
        table_row(&table, set->functions[i].rule.name, set->functions[i].symbol, failure);
        free(failure);
    }
    table_end(&table, stdout);
}

struct json_object *function_reports(const struct ruleset *set)
{
    struct json_object *reports = json_object_new_array();
    for (uint32_t i = 0; set && i < set->function_count; i++)
        json_object_array_add(reports, report_of(&set->functions[i]));
    return reports;
}

/* LIBRARY:SYMBOL or SYMBOL; the first that is meant, as for programs. */
static const struct function *find(const struct ruleset *set, const char *wanted)
{
    const char *colon = strrchr(wanted, ':');
    char *library = colon ? formatted("%.*s", (int)(colon - wanted), wanted) : NULL;
    const struct function *found = NULL;
    for (uint32_t i = 0; i < set->function_count && !found; i++)
        if (function_is_meant(&set->functions[i], library, colon ? colon + 1 : wanted))
            found = &set->functions[i];
    free(library);
    return found;
}

static void print_function(const struct function *function)
{
    const struct rule *rule = &function->rule;
    printf("%s of %s gets function \"%s\" (%s:%u:%u): %s\n\n", function->symbol,
           function->library ? function->library : "any library", rule->name, rule->path, rule->line,
           rule->column, function_text(function).text);
    struct table table = table_begin("lll");
    table.widest = 40;
    char *failure = failure_of(function), *fallback = fallback_of(function), *target = target_of(function);
    table_row(&table, "fails_when", failure, "");
    if (function->cleanup.symbol)
        table_row(&table, "cleanup", inner_call_text(&function->cleanup).text, "");
    table_row(&table, "target", target, "");
    print_values(function, &table);
    if (fallback)
        table_row(&table, "default", fallback, "");
    char *faults = faults_of(function);
    if (faults)
        table_row(&table, "faults", faults, "");
    free(faults);
    char *enforced = formatted("%g%%", rule->policy.enforce_ppm * 100.0 / PPM_ONE);
    char *origin = origin_text(rule->path, &rule->enforce_origin);
    table_row(&table, "enforce", enforced, origin);
    table_end(&table, stdout);
    free(failure);
    free(fallback);
    free(target);
    free(enforced);
    free(origin);
    printf("\nNothing bounds how long one of its calls takes. It is wrapped where programs and libraries "
           "call it by name,\n"
           "or find it with dlsym in a library that they have opened; pointers to it that were made "
           "otherwise are not.\n");
}

static void print_values(const struct function *function, struct table *table)
{
    const struct rule *rule = &function->rule;
    const char *off = "";
    for (uint32_t key = 0; key < key_count; key++) {
        const struct key_info *info = &key_table[key];
        if (!is_of_functions(key))
            continue;
        if (policy_section_is_on(&rule->policy, key)) {
            char *name = formatted("%s.%s", info->section, info->key);
            char *origin = origin_text(rule->path, &rule->origins[key]);
            table_row(table, name, policy_value_text(&rule->policy, key).text, origin);
            free(name);
            free(origin);
        } else if (!*off || strncmp(info->section, off, strlen(off)) != 0) {
            off = info->section;
            table_row(table, off, "off", "");
        }
    }
}

static bool is_of_functions(uint32_t key)
{
    static const char *const others[] = {"retry.retry_on", "retry.addresses",        "breaker.scope",
                                         "breaker.error",  "breaker.failure_prefix", "limit.error"};
    const char *section = key_table[key].section;
    if (strncmp(section, "retry", 5) != 0 && strncmp(section, "breaker", 7) != 0 &&
        strcmp(section, "limit") != 0)
        return false;
    char *name = formatted("%s.%s", section, key_table[key].key);
    bool is_other = false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        is_other |= strcmp(others[i], name) == 0;
    free(name);
    return !is_other;
}

/* "null, or PQstatus(result) != 0" */
static char *failure_of(const struct function *function)
{
    char buffer[600];
    struct text text = text_begin(buffer, sizeof buffer);
    if (function->fails.kind != CONDITION_NONE)
        text_add(&text, "%s", condition_text(&function->fails).text);
    for (uint32_t i = 0; i < function->error_count; i++)
        text_add(&text, "%s%s", i ? " or " : " with errno ", errno_name(function->errors[i]));
    if (function->check.symbol)
        text_add(&text, "%s%s%s %s", function->fails.kind != CONDITION_NONE ? ", or " : "",
                 inner_call_text(&function->check).text,
                 function->check_fails.kind == CONDITION_ONE_OF ? " is" : "",
                 condition_text(&function->check_fails).text);
    return copy_of(buffer);
}

static char *fallback_of(const struct function *function)
{
    if (!function->fallback.is_given)
        return NULL;
    const char *error = function->fallback.error ? errno_name(function->fallback.error) : NULL;
    struct result_text value = result_text(value_type_class(function->returns), function->fallback.value);
    return formatted("%s%s%s, %s", function->returns == VALUE_VOID ? "nothing" : value.text,
                     error ? ", errno " : "", error ? error : "",
                     function->fallback.is_for_failed ? "for rejected and failed calls"
                                                      : "for rejected calls");
}

/* "every 3rd call, 20%: null, errno ECONNRESET" */
static char *faults_of(const struct function *function)
{
    const struct fault_params *params = &function->faults.params;
    char buffer[sizeof(struct fault_text)];
    struct text text = text_begin(buffer, sizeof buffer);
    if (!function->faults.is_given)
        return NULL;
    text_add(&text, "%s", function_fault_text(function).text);
    if (params->nth)
        text_add(&text, "; nth %u", params->nth);
    if (params->every)
        text_add(&text, "; every %u", params->every);
    if (params->after)
        text_add(&text, "; after %u", params->after);
    if (params->times)
        text_add(&text, "; times %u", params->times);
    char *all = params->probability_ppm < PPM_ONE
                    ? formatted("%s; %g%% of these", buffer, params->probability_ppm * 100.0 / PPM_ONE)
                    : copy_of(buffer);
    char *said = formatted("%s, where faults are armed", all);
    free(all);
    return said;
}

static char *target_of(const struct function *function)
{
    if (function->target == 0)
        return copy_of("none: one circuit for all calls");
    if (function->port == 0)
        return formatted("the host in arg %u", function->target);
    return formatted("the host in arg %u, port arg %u", function->target, function->port);
}

static struct json_object *report_of(const struct function *function)
{
    const struct rule *rule = &function->rule;
    struct json_object *report = json_new(), *values = json_new();
    char *failure = failure_of(function), *fallback = fallback_of(function);
    json_add_text(report, "name", rule->name);
    json_add_text(report, "file", rule->path);
    json_add_number(report, "line", rule->line);
    json_add_number(report, "column", rule->column);
    json_add_text(report, "library", function->library);
    json_add_text(report, "symbol", function->symbol);
    json_add_text(report, "declared", function_text(function).text);
    json_add_text(report, "fails_when", failure);
    json_add_text(report, "cleanup",
                  function->cleanup.symbol ? inner_call_text(&function->cleanup).text : NULL);
    json_add_text(report, "default", fallback);
    char *faults = faults_of(function);
    json_add_text(report, "faults", faults);
    free(faults);
    for (uint32_t key = 0; key < key_count; key++) {
        if (!is_of_functions(key))
            continue;
        char *name = formatted("%s.%s", key_table[key].section, key_table[key].key);
        json_add_text(values, name, policy_value_text(&rule->policy, key).text);
        free(name);
    }
    json_object_object_add(report, "values", values);
    free(failure);
    free(fallback);
    return report;
}
