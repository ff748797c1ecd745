/* resil breaker: circuits taken into one's own hands, and given back. */
#include <argp.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "command.h"
#include "hosts.h"
#include "json_out.h"
#include "message.h"
#include "printable.h"
#include "rule_file.h"
#include "rules/function.h"
#include "rules/problems.h"
#include "segments.h"
#include "steer.h"
#include "state/breakers.h"
#include "target.h"
#include "wrap.h"

struct request {
    const char *rules;
    bool is_json;
    bool has_action;
    enum steered action;
    bool has_several; /* rule files have what is named, so that each is told */
    char **names;
    int count;
};

static const char *const actions[] = {
#define STEERED(name, text, help) text,
    STEERINGS(STEERED)
#undef STEERED
        NULL};

static error_t parse_option(int key, char *argument, struct argp_state *state);
static void take_action(struct request *request, const char *word, struct argp_state *state);
static bool is_hold(const struct request *request);
static bool steer_named(const struct request *request, const char *name, const struct segments *segments,
                        struct json_object *changes, int *status);
static bool is_named(const char *name, const struct host_view *host);
static unsigned files_with(const struct segments *segments, const char *name);
static int steer_unknown(const struct request *request, const char *name, struct json_object *changes);
static int steer_new(const struct request *request, const struct rule_file *file, const struct rule *rule,
                     const struct target *target, struct json_object *changes);
static int complain_of_none(const struct request *request, const char *name);
static void complain_of_no_breaker(const char *target, const char *rule);
static void steer(const struct request *request, struct segment *segment, struct host *host,
                  const char *rules, struct json_object *changes);

static const struct argp_option options[] = {
    {"rules", 'r', "FILE", 0, "Only programs with this rule file", 0},
    {"json", 'j', NULL, 0, "Print JSON", 0},
    {0},
};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "open|close|reset|auto NAME...",
    .doc = "Takes circuits into your own hands, of all programs of this user. NAME is a rule, a host with or "
           "without port, or a pattern: payments, payments.internal:443, \"*.internal\"."
           "\v"
           "open: calls fail at once, and nothing reaches the host.\n"
           "close: calls go through, whatever becomes of them.\n"
           "auto: the circuit is given back. It begins closed, and outcomes decide again.\n"
           "reset: closed and empty, as if nothing had happened; who holds it keeps it.\n"
           "\n"
           "Running programs follow at their next call. `open` and `close` hold until `auto`, or until the "
           "shared state is lost: at a reboot at the latest. A host that was not called yet can be held if "
           "NAME has its port: its rule is looked up in the rule file that is in force, or in FILE. `resil "
           "status` shows what is held, `resil log` when that was said.\n"
           "\n"
           "Exit status: 0 done; 1 there is nothing of a NAME, or its rule has no breaker to hold; 2 wrong "
           "usage, "
           "or the shared state or the rule file cannot be used.",
};

int breaker_command(int argc, char **argv)
{
    struct request request = {.rules = NULL};
    if (argp_parse(&parser, argc, argv, 0, NULL, &request) != 0)
        return STATUS_UNUSABLE;
    struct segments segments = segments_begin(request.rules);
    segments.are_writable = true;
    segments_scan(&segments);
    if (segments.are_barred) {
        segments_end(&segments);
        return STATUS_UNUSABLE;
    }
    struct json_object *changes = json_object_new_array();
    int status = STATUS_GOOD;
    for (int i = 0; i < request.count; i++) {
        int result = STATUS_GOOD;
        request.has_several = files_with(&segments, request.names[i]) > 1;
        if (!steer_named(&request, request.names[i], &segments, changes, &result))
            result = steer_unknown(&request, request.names[i], changes);
        status = result > status ? result : status;
    }
    if (request.is_json) {
        struct json_object *all = json_new();
        json_object_object_add(all, "changes", changes);
        json_print(all, stdout);
    } else {
        json_object_put(changes);
    }
    segments_end(&segments);
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
    case ARGP_KEY_ARG:
        if (request->has_action)
            return ARGP_ERR_UNKNOWN; /* all that is left comes as ARGP_KEY_ARGS */
        take_action(request, argument, state);
        return 0;
    case ARGP_KEY_ARGS:
        request->names = state->argv + state->next;
        request->count = state->argc - state->next;
        return 0;
    case ARGP_KEY_END:
        if (!request->has_action)
            argp_error(state, "say what to do, and with which circuit: resil breaker open payments");
        if (!request->count)
            argp_error(state, "say which circuit: a rule, or a host with or without port");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void take_action(struct request *request, const char *word, struct argp_state *state)
{
    for (unsigned i = 0; actions[i]; i++)
        if (strcmp(actions[i], word) == 0) {
            request->action = (enum steered)i;
            request->has_action = true;
            return;
        }
    const char *nearest = nearest_name(word, actions);
    argp_error(state, "\"%s\" is none of open, close, reset and auto%s%s%s", word,
               nearest ? " (did you mean " : "", nearest ? nearest : "", nearest ? "?)" : "");
}

static bool is_hold(const struct request *request)
{
    return request->action == STEERED_OPEN || request->action == STEERED_CLOSED;
}

static bool is_named(const char *name, const struct host_view *host)
{
    return fnmatch(name, host->rule, 0) == 0 || target_is_named(name, host->target);
}

/* How many have a host of that name. */
static unsigned files_with(const struct segments *segments, const char *name)
{
    unsigned count = 0;
    for (size_t i = 0; i < segments->count; i++) {
        const struct segment_file *file = segments->files[i];
        if (!file->writable)
            continue;
        struct host_list hosts = hosts_list(file->segment);
        bool has = false;
        for (size_t n = 0; n < hosts.count; n++)
            has |= is_named(name, &hosts.hosts[n]);
        hosts_end(&hosts);
        count += has;
    }
    return count;
}

/* Those that programs have called. False: there are none. */
static bool steer_named(const struct request *request, const char *name, const struct segments *segments,
                        struct json_object *changes, int *status)
{
    bool is_found = false;
    for (size_t i = 0; i < segments->count; i++) {
        const struct segment_file *file = segments->files[i];
        if (!file->writable)
            continue;
        struct host_list hosts = hosts_list(file->segment);
        for (size_t n = 0; n < hosts.count; n++) {
            const struct host_view *host = &hosts.hosts[n];
            if (!is_named(name, host))
                continue;
            is_found = true;
            /* What was held before the rule lost its breaker can still be given back. */
            if (is_hold(request) && circuit_is_missing(file, host)) {
                complain_of_no_breaker(host->target, host->rule);
                *status = STATUS_FOUND;
                continue;
            }
            steer(request, file->writable, &file->writable->hosts[host->host - file->segment->hosts],
                  file->rules, changes);
        }
        hosts_end(&hosts);
    }
    return is_found;
}

/* A host with its port that was not called yet, under the rule that it will get. Gives the exit status. */
static int steer_unknown(const struct request *request, const char *name, struct json_object *changes)
{
    static struct rule_file file;
    static struct problems problems;
    struct asked asked = {.program = NULL};
    if (!is_hold(request) || target_parse(name, &asked) || !asked.target.port)
        return complain_of_none(request, name);
    rule_file_find(request->rules, &file);
    struct ruleset *set = rule_file_load(&file, &problems);
    if (!set) {
        problems_print(file.path, &problems, false, stderr);
        complain("%s: which rule is for it cannot be told: %s cannot be used", name, file.path);
        return STATUS_UNUSABLE;
    }
    int status = STATUS_FOUND;
    const struct rule *rule = ruleset_find(set, &asked.target, "");
    if (!rule)
        complain_of_none(request, name);
    else if (!rule->policy.breaker.is_on)
        complain_of_no_breaker(name, rule->name);
    else
        status = steer_new(request, &file, rule, &asked.target, changes);
    ruleset_free(set);
    return status;
}

static int steer_new(const struct request *request, const struct rule_file *file, const struct rule *rule,
                     const struct target *target, struct json_object *changes)
{
    static char canonical[PATH_MAX];
    char directory[1100];
    rule_file_canonical(file, canonical);
    segment_directory(directory, sizeof directory);
    bool is_shared = false;
    if (!segment_open(canonical, &is_shared) || !is_shared) {
        complain("shared state cannot be made in %s, so programs would not hear of it", directory);
        return STATUS_UNUSABLE;
    }
    struct host_handle handle = hosts_find(rule, target, clock_now_ns());
    if (!handle.host) {
        complain("the shared state in %s has no room for another host", directory);
        return STATUS_UNUSABLE;
    }
    steer(request, segment_current, handle.host, canonical, changes);
    return STATUS_GOOD;
}

static int complain_of_none(const struct request *request, const char *name)
{
    complain("%s: no such rule or host was called so far%s (resil status shows those that were)", name,
             is_hold(request) ? ", and no rule is for it if it is a host with its port" : "");
    return STATUS_FOUND;
}

static void complain_of_no_breaker(const char *target, const char *rule)
{
    complain("%s: rule %s has no breaker, so there is no circuit to hold (write `breaker: {}`)", target,
             rule);
}

static void steer(const struct request *request, struct segment *segment, struct host *host,
                  const char *rules, struct json_object *changes)
{
    static const char *const texts[] = {
#define STEERED(name, text, help) help,
        STEERINGS(STEERED)
#undef STEERED
    };
    circuit_steer(segment, host, request->action);
    char target[sizeof host->target + 1], rule[sizeof host->rule + 1];
    printable_field(target, host->target, sizeof host->target);
    printable_field(rule, host->rule, sizeof host->rule);
    struct json_object *change = json_new();
    json_add_text(change, "target", target);
    json_add_text(change, "rule", rule);
    json_add_text(change, "rules", rules);
    json_add_text(change, "action", actions[request->action]);
    json_object_array_add(changes, change);
    if (request->is_json)
        return;
    char *text = formatted("%s (rule %s%s%s): %s", target, rule, request->has_several ? " of " : "",
                           request->has_several ? rules : "", texts[request->action]);
    print_wrapped(text, 0, 4, stdout);
    free(text);
}
