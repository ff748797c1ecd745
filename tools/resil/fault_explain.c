#include "fault_explain.h"

#include <string.h>

#include "base/text.h"
#include "json_out.h"
#include "message.h"
#include "rules/values.h"
#include "table.h"

static void add_operations(struct text *text, const struct fault *fault);

struct fault_when fault_when(const struct fault *fault)
{
    static const char *const units[] = {"calls", "exchanges", "connections", "processes"};
    const struct fault_params *params = &fault->params;
    struct fault_when when;
    struct text text = text_begin(when.text, sizeof when.text);
    if (params->probability_ppm == PPM_ONE) {
        text_add(&text, "all %s", units[params->per]);
    } else {
        values_add_ratio(&text, params->probability_ppm);
        text_add(&text, " of the %s", units[params->per]);
    }
    if (params->after)
        text_add(&text, ", after %u", params->after);
    if (params->nth)
        text_add(&text, ", only number %u", params->nth);
    if (params->every)
        text_add(&text, ", one in %u", params->every);
    if (params->times)
        text_add(&text, ", %u times at most", params->times);
    if (params->schedule.start_ns) {
        text_add(&text, ", from ");
        values_add_duration(&text, params->schedule.start_ns);
        text_add(&text, " on");
    }
    if (params->schedule.ramp_ns) {
        text_add(&text, ", growing for ");
        values_add_duration(&text, params->schedule.ramp_ns);
    }
    if (params->schedule.flap_on_ns) {
        text_add(&text, ", ");
        values_add_duration(&text, params->schedule.flap_on_ns);
        text_add(&text, " on and ");
        values_add_duration(&text, params->schedule.flap_off_ns);
        text_add(&text, " off");
    }
    if (params->schedule.burst_ns) {
        text_add(&text, ", ");
        values_add_duration(&text, params->schedule.burst_ns);
        text_add(&text, " somewhere in each ");
        values_add_duration(&text, params->schedule.burst_every_ns);
    }
    if (params->schedule.expires_ns) {
        text_add(&text, ", until ");
        values_add_duration(&text, params->schedule.expires_ns);
    }
    for (uint32_t i = 0; i < fault->caller_count; i++)
        text_add(&text, "%s%s", i ? " or " : ", by ", fault->callers[i]);
    return when;
}

static void add_operations(struct text *text, const struct fault *fault)
{
    for (unsigned i = 0; i < FAULT_OPERATIONS; i++)
        if (fault->params.operations & FAULT_ON(i))
            text_add(text, "%s%s", text->length ? ", " : "", fault_operation_names[i]);
}

static void print(const struct ruleset *set, const struct target *target, const char *program, FILE *to)
{
    struct table table = table_begin("lll");
    table_row(&table, "FAULT", "HAPPENS TO", "WHAT");
    for (uint32_t i = 0; i < set->fault_count; i++) {
        const struct fault *fault = &set->faults[i];
        char operations[80];
        struct text text = text_begin(operations, sizeof operations);
        if (target && !fault_matches(fault, target, program))
            continue;
        add_operations(&text, fault);
        table_row(&table, fault->name, operations, fault_text(fault).text);
        if (strncmp(fault_when(fault).text, "all ", 4) != 0 || strchr(fault_when(fault).text, ','))
            table_note(&table, formatted("%s", fault_when(fault).text));
    }
    table_end(&table, to);
}

void faults_print_all(const struct ruleset *set, FILE *to)
{
    if (set->fault_count)
        print(set, NULL, NULL, to);
}

void faults_print_for(const struct ruleset *set, const struct target *target, const char *program, FILE *to)
{
    bool is_any = false;
    for (uint32_t i = 0; i < set->fault_count; i++)
        is_any |= fault_matches(&set->faults[i], target, program);
    if (!is_any)
        return;
    fprintf(to, "\nWhere faults are armed, these may happen to it, in this order:\n");
    print(set, target, program, to);
}

struct json_object *faults_report(const struct ruleset *set, const struct target *target, const char *program)
{
    struct json_object *report = json_object_new_array();
    for (uint32_t i = 0; set && i < set->fault_count; i++) {
        const struct fault *fault = &set->faults[i];
        if (target && !fault_matches(fault, target, program))
            continue;
        struct json_object *item = json_new(), *operations = json_object_new_array();
        json_add_text(item, "name", fault->name);
        json_add_text(item, "file", fault->path);
        json_add_number(item, "line", fault->line);
        json_add_text(item, "kind", fault_kinds[fault->params.kind].name);
        json_add_text(item, "what", fault_text(fault).text);
        json_add_text(item, "when", fault_when(fault).text);
        for (unsigned n = 0; n < FAULT_OPERATIONS; n++)
            if (fault->params.operations & FAULT_ON(n))
                json_object_array_add(operations, json_object_new_string(fault_operation_names[n]));
        json_object_object_add(item, "on", operations);
        json_object_array_add(report, item);
    }
    return report;
}
