/* resil fault: which faults there are, and switching them on and off while programs run. */
#include <argp.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "fault_sites.h"
#include "fault_switch.h"
#include "fault_table.h"
#include "json_out.h"
#include "message.h"
#include "rule_file.h"
#include "rules/problems.h"
#include "rules/units.h"
#include "segments.h"
#include "table.h"

enum action { ACTION_LIST, ACTION_ON, ACTION_OFF, ACTION_AUTO, ACTION_COUNT };

struct request {
    const char *rules;
    bool is_json;
    uint64_t for_ns;
    enum action action; /* ACTION_COUNT: not said yet */
    char **names;
    int count;
};

static const char *const actions[] = {"list", "on", "off", "auto", NULL};

static error_t parse_option(int key, char *argument, struct argp_state *state);
static void take_action(struct request *request, const char *word, struct argp_state *state);
static int with_rule_files(const struct request *request, struct json_object *report);
static unsigned with_rules(const struct request *request, const char *path, struct segment *segment,
                           struct json_object *report, bool *found);
static bool is_asked_for(const struct request *request, const char *fault);
static void list(const struct request *request, const struct ruleset *rules, const char *path,
                 const struct segment *segment);
static void list_json(const struct request *request, const struct ruleset *rules, const char *path,
                      const struct segment *segment, struct json_object *report);
static void steer(const struct request *request, const struct named_fault *fault, struct segment *segment,
                  const char *path, struct json_object *report);

static const struct argp_option options[] = {
    {"rules", 'r', "FILE", 0, "Only programs with this rule file", 0},
    {"for", 'f', "TIME", 0, "With on and off: for so long, then as before", 0},
    {"json", 'j', NULL, 0, "Print JSON", 0},
    {0},
};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "list|on|off|auto [NAME...]",
    .doc =
        "Switches the faults of rule files on and off, for all programs of this user. NAME is a fault or a "
        "pattern of their names."
        "\v"
        "list: which there are, whether somebody has switched them, how often they have fired, and at how "
        "many "
        "places in programs.\n"
        "on: they fire in every program with that rule file, armed or not.\n"
        "off: they do not fire, even where they are armed.\n"
        "auto: as before: where RESIL_FAULTS=1 or resil run --faults arms them.\n"
        "\n"
        "Running programs follow at their next call. Where faults were not armed when a program made a "
        "connection, "
        "`on` is about its next ones. What was said holds until it is said otherwise, for the time of --for, "
        "or "
        "until the shared state is lost: at a reboot at the latest.\n"
        "\n"
        "Exit status: 0 done; 1 there is no fault of a NAME; 2 wrong usage, or the shared state or a rule "
        "file "
        "cannot be used.",
};

int fault_command(int argc, char **argv)
{
    struct request request = {.action = ACTION_COUNT};
    if (argp_parse(&parser, argc, argv, 0, NULL, &request) != 0)
        return STATUS_UNUSABLE;
    struct json_object *report = json_object_new_array();
    int status = with_rule_files(&request, report);
    if (request.is_json) {
        struct json_object *all = json_new();
        json_object_object_add(all, request.action == ACTION_LIST ? "faults" : "changes", report);
        json_print(all, stdout);
    } else {
        json_object_put(report);
    }
    return status;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    switch (key) {
    case 'r':
        request->rules = argument;
        return 0;
    case 'j':
        request->is_json = true;
        return 0;
    case 'f':
        if (!duration_parse(argument, &request->for_ns) || !request->for_ns)
            argp_error(state, "--for: \"%s\" is not a duration (write 60s or 5m)", argument);
        return 0;
    case ARGP_KEY_ARG:
        if (request->action != ACTION_COUNT)
            return ARGP_ERR_UNKNOWN; /* all that is left comes as ARGP_KEY_ARGS */
        take_action(request, argument, state);
        return 0;
    case ARGP_KEY_ARGS:
        request->names = state->argv + state->next;
        request->count = state->argc - state->next;
        return 0;
    case ARGP_KEY_END:
        if (request->action == ACTION_COUNT)
            argp_error(state, "say what to do: resil fault list, or resil fault off NAME");
        if (request->action != ACTION_LIST && !request->count)
            argp_error(state, "say which fault (resil fault list shows them; \"*\" is all)");
        if (request->for_ns && request->action != ACTION_ON && request->action != ACTION_OFF)
            argp_error(state, "--for: goes with on and off only");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void take_action(struct request *request, const char *word, struct argp_state *state)
{
    request->action = ACTION_LIST;
    while (actions[request->action] && strcmp(actions[request->action], word) != 0)
        request->action++;
    const char *nearest = nearest_name(word, actions);
    if (request->action == ACTION_COUNT)
        argp_error(state, "\"%s\" is none of list, on, off and auto%s%s%s", word,
                   nearest ? " (did you mean " : "", nearest ? nearest : "", nearest ? "?)" : "");
}

/* Those that programs have used, and the one that they would use now. */
static int with_rule_files(const struct request *request, struct json_object *report)
{
    static struct rule_file own;
    static char canonical[PATH_MAX];
    struct segments segments = segments_begin(request->rules);
    bool *found = allocate((size_t)request->count * sizeof *found + 1);
    bool has_own = false;
    unsigned problems = 0;
    segments.are_writable = request->action != ACTION_LIST;
    segments_scan(&segments);
    rule_file_find(request->rules, &own);
    rule_file_canonical(&own, canonical);
    for (size_t i = 0; i < segments.count; i++) {
        const struct segment_file *file = segments.files[i];
        has_own |= strcmp(file->rules, canonical) == 0;
        if (file->segment)
            problems += with_rules(request, file->rules,
                                   segments.are_writable ? file->writable : (struct segment *)file->segment,
                                   report, found);
    }
    if (!has_own && !own.is_built_in) {
        bool is_shared = false;
        bool is_open = request->action == ACTION_LIST || (segment_open(canonical, &is_shared) && is_shared);
        if (!is_open)
            complain("shared state cannot be made, so programs would not hear of it");
        problems += is_open ? with_rules(request, canonical, segment_current, report, found) : 1;
    }
    int status = problems || segments.are_barred ? STATUS_UNUSABLE : STATUS_GOOD;
    for (int i = 0; i < request->count; i++) {
        if (found[i])
            continue;
        complain(
            "%s: no rule file that is in use has such a fault (resil fault list shows those that there are)",
            request->names[i]);
        status = status == STATUS_GOOD ? STATUS_FOUND : status;
    }
    free(found);
    segments_end(&segments);
    return status;
}

/* Gives how many problems there were. */
static unsigned with_rules(const struct request *request, const char *path, struct segment *segment,
                           struct json_object *report, bool *found)
{
    static struct rule_file file;
    static struct problems problems;
    rule_file_find(path, &file);
    if (file.is_built_in || (request->action != ACTION_LIST && !segment))
        return 0;
    struct ruleset *rules = rule_file_load(&file, &problems);
    if (!rules) {
        /* One that is gone is nobody's. */
        bool is_asked = request->rules != NULL;
        if (is_asked)
            problems_print(path, &problems, false, stderr);
        return is_asked;
    }
    if (request->action == ACTION_LIST && request->is_json)
        list_json(request, rules, path, segment, report);
    else if (request->action == ACTION_LIST)
        list(request, rules, path, segment);
    uint32_t count = fault_names(rules);
    for (uint32_t i = 0; i < count; i++) {
        const struct named_fault fault = fault_name(rules, i);
        bool is_named = false;
        for (int n = 0; n < request->count; n++) {
            bool is_this = fnmatch(request->names[n], fault.name, 0) == 0;
            found[n] |= is_this;
            is_named |= is_this;
        }
        if (is_named && request->action != ACTION_LIST)
            steer(request, &fault, segment, path, request->is_json ? report : NULL);
    }
    ruleset_free(rules);
    return 0;
}

static const struct fault_counts nothing;

/* Without a name: all are. */
static bool is_asked_for(const struct request *request, const char *fault)
{
    for (int n = 0; n < request->count; n++)
        if (fnmatch(request->names[n], fault, 0) == 0)
            return true;
    return !request->count;
}

static void list(const struct request *request, const struct ruleset *rules, const char *path,
                 const struct segment *segment)
{
    bool has_any = false;
    uint32_t count = fault_names(rules);
    for (uint32_t i = 0; i < count; i++)
        has_any |= is_asked_for(request, fault_name(rules, i).name);
    if (!has_any)
        return;
    struct table table = table_begin("llrrl");
    table_row(&table, "FAULT", "SWITCHED", "FIRED", "PLACES", "WHAT");
    for (uint32_t i = 0; i < count; i++) {
        const struct named_fault fault = fault_name(rules, i);
        if (!is_asked_for(request, fault.name))
            continue;
        struct fault_account account = fault_account_of(segment, &fault, &nothing);
        table_row(&table, fault.name, fault_switched_text(account.slot).text, fired_text(&account, "0").text,
                  sites_text(&account).text, fault_name_text(&fault).text);
    }
    printf("%s\n", path);
    table_end(&table, stdout);
}

static void list_json(const struct request *request, const struct ruleset *rules, const char *path,
                      const struct segment *segment, struct json_object *report)
{
    uint32_t count = fault_names(rules);
    for (uint32_t i = 0; i < count; i++) {
        const struct named_fault fault = fault_name(rules, i);
        if (!is_asked_for(request, fault.name))
            continue;
        struct fault_account account = fault_account_of(segment, &fault, &nothing);
        struct json_object *item = json_new(), *sites = json_object_new_array();
        json_add_text(item, "name", fault.name);
        json_add_text(item, "rules", path);
        json_add_text(item, "switched", fault_switched_text(account.slot).text);
        json_add_text(item, "kind", fault.kind);
        json_add_text(item, "what", fault_name_text(&fault).text);
        json_add_number(item, "fired", account.fired);
        json_add_number(item, "would_fire", account.would_fire);
        for (uint32_t n = 0; account.slot && n < FAULT_SITES; n++) {
            const struct fault_site *site = &account.slot->sites[n];
            uint64_t times = atomic_load_explicit(&site->fired, memory_order_relaxed);
            if (!times)
                continue;
            struct json_object *place = json_new();
            json_add_text(place, "site", fault_site_text(site).text);
            json_add_number(place, "fired", times);
            json_object_array_add(sites, place);
        }
        json_object_object_add(item, "sites", sites);
        json_object_array_add(report, item);
    }
}

static void steer(const struct request *request, const struct named_fault *fault, struct segment *segment,
                  const char *path, struct json_object *report)
{
    static const enum fault_steering steerings[] = {
        [ACTION_ON] = FAULT_ON_BY_HAND, [ACTION_OFF] = FAULT_OFF_BY_HAND, [ACTION_AUTO] = FAULT_AS_ARMED};
    if (!fault_switch(segment, fault->name, fault->identity, steerings[request->action], request->for_ns)) {
        complain("%s: the shared state has no room for another fault", fault->name);
        return;
    }
    if (report) {
        struct json_object *change = json_new();
        json_add_text(change, "name", fault->name);
        json_add_text(change, "rules", path);
        json_add_text(change, "action", actions[request->action]);
        json_object_array_add(report, change);
    } else {
        printf("%s: fault %s %s%s%s\n", path, fault->name,
               request->action == ACTION_AUTO ? "as armed" : actions[request->action],
               request->for_ns ? " for " : "", request->for_ns ? duration_text(request->for_ns).text : "");
    }
}
