#include "fault_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "fault_table.h"
#include "message.h"
#include "printable.h"
#include "rule_file.h"
#include "rules/problems.h"

static const struct fault_counts nothing;

static void add_file(struct fault_list *list, const struct segment_file *file, const char *find);
static struct listed_fault listed(const struct segment_file *file, const struct named_fault *fault);

void fault_list_look(struct fault_list *list, const struct segments *segments, const char *find)
{
    list->count = 0;
    for (size_t i = 0; i < segments->count; i++)
        if (segments->files[i]->segment)
            add_file(list, segments->files[i], find);
}

void fault_list_end(struct fault_list *list)
{
    free(list->faults);
    *list = (struct fault_list){.count = 0};
}

static void add_file(struct fault_list *list, const struct segment_file *file, const char *find)
{
    static struct rule_file rule_file;
    static struct problems problems;
    rule_file_find(file->rules, &rule_file);
    struct ruleset *rules = rule_file.is_built_in ? NULL : rule_file_load(&rule_file, &problems);
    uint32_t count = rules ? fault_names(rules) : 0;
    list->faults = grow(list->faults, (list->count + count + 1) * sizeof *list->faults);
    for (uint32_t i = 0; i < count; i++) {
        const struct named_fault fault = fault_name(rules, i);
        if (strcasestr(fault.name, find))
            list->faults[list->count++] = listed(file, &fault);
    }
    if (rules)
        ruleset_free(rules);
}

static struct listed_fault listed(const struct segment_file *file, const struct named_fault *fault)
{
    struct fault_account account = fault_account_of(file->segment, fault, &nothing);
    struct listed_fault listed = {
        .file = file,
        .identity = fault->identity,
        .what = fault_name_text(fault),
        .switched = fault_switched_text(account.slot),
        .steering = fault_steering_now(account.slot),
        .fired = account.fired,
    };
    snprintf(listed.name, sizeof listed.name, "%s", fault->name);
    printable(listed.name);
    printable(listed.what.text);
    snprintf(listed.places, sizeof listed.places, "%s", sites_text(&account).text);
    return listed;
}
