/* The sections timeout, retry, breaker and limit: read from a rule and from `defaults`, then made into values in force. */
#include <string.h>

#include "base/clock.h"
#include "rules/reader.h"
#include "rules/values.h"

/* A probe that says nothing for this long after its time is lost. */
#define LEASE_SLACK_NS   NS_PER_S
#define LEASE_CONNECT_NS (5 * NS_PER_S) /* where attempts are not bounded */

static const struct {
    const char *name;
    int parent;        /* the section it is a part of, or -1 */
    enum section part; /* the section that is a part of it, or SECTION_COUNT */
    const char *part_name;
} sections[SECTION_COUNT] = {
    [SECTION_TIMEOUT] = {"timeout", -1, SECTION_COUNT, NULL},
    [SECTION_RETRY] = {"retry", -1, SECTION_BUDGET, "budget"},
    [SECTION_BUDGET] = {"retry.budget", SECTION_RETRY, SECTION_COUNT, NULL},
    [SECTION_BREAKER] = {"breaker", -1, SECTION_FAILURE_RATE, "failure_rate"},
    [SECTION_FAILURE_RATE] = {"breaker.failure_rate", SECTION_BREAKER, SECTION_COUNT, NULL},
    [SECTION_LIMIT] = {"limit", -1, SECTION_COUNT, NULL},
};

static void complain_about_shape(struct reader *reader, const struct node *node, const char *name);
static bool is_on(const struct settings *rule, const struct settings *defaults, enum section section);
static struct origin place_value(const struct reader *reader, const struct settings *settings, uint32_t key,
                                 bool is_section_on, struct policy *policy);
static void check_limit(struct reader *reader, const struct settings *settings, const struct policy *policy);
static void check_together(struct reader *reader, struct policy *policy, const struct origin *origins);

void section_read(struct reader *reader, const struct node *node, enum section section,
                  struct settings *settings)
{
    const char *name = sections[section].name;
    settings->sections[section] = SECTION_ON;
    if (section == SECTION_LIMIT)
        settings->limit = (struct place){node->line, node->column};
    if (node_is_null(node))
        return;
    if (node_is(node, "off")) {
        settings->sections[section] = SECTION_OFF;
        return;
    }
    const char *names[FIELDS_MAX] = {NULL};
    uint32_t keys[FIELDS_MAX];
    uint32_t count = 0;
    for (uint32_t key = 0; key < key_count; key++) {
        if (strcmp(key_table[key].section, name) != 0)
            continue;
        names[count] = key_table[key].key;
        keys[count++] = key;
    }
    names[count] = sections[section].part_name;
    struct fields fields = {.path = name, .names = names};
    const struct node *values[FIELDS_MAX];
    if (!fields_read(reader, node, &fields, values)) {
        complain_about_shape(reader, node, name);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct setting *setting = &settings->keys[keys[i]];
        if (!values[i])
            continue;
        if (!value_read(reader, values[i], keys[i], &setting->value)) {
            if (section == SECTION_LIMIT)
                settings->limit.line = 0;
            continue;
        }
        setting->is_set = true;
        setting->line = values[i]->line;
        setting->column = values[i]->column;
    }
    if (values[count])
        section_read(reader, values[count], sections[section].part, settings);
}

static void complain_about_shape(struct reader *reader, const struct node *node, const char *name)
{
    if (node_is(node, "on") || node_is(node, "yes") || node_is(node, "true"))
        COMPLAIN(reader, node, "%s: is on when it is named (write %s: with nothing after it)", name,
                 strrchr(name, '.') ? strrchr(name, '.') + 1 : name);
    else if (node_is(node, "no") || node_is(node, "false") || node_is(node, "none"))
        COMPLAIN(reader, node, "%s: %s is not known (write off)", name, quote(node->text, node->length).text);
    else if (node->kind == NODE_SCALAR && strchr(node->text, ':'))
        COMPLAIN(reader, node, "%s: %s has no key in it (a colon needs a space after it)", name,
                 quote(node->text, node->length).text);
    else
        COMPLAIN(reader, node, "%s: needs keys below it, or nothing (the usual figures), or off", name);
}

void settings_resolve(struct reader *reader, const struct settings *settings, struct policy *policy,
                      struct origin *origins)
{
    bool on[SECTION_COUNT];
    for (enum section section = 0; section < SECTION_COUNT; section++)
        on[section] = is_on(settings, &reader->defaults, section);
    for (uint32_t key = 0; key < key_count; key++) {
        enum section section = 0;
        while (strcmp(sections[section].name, key_table[key].section) != 0)
            section++;
        origins[key] = place_value(reader, settings, key, on[section], policy);
    }
    policy->retry.is_on = on[SECTION_RETRY];
    policy->breaker.is_on = on[SECTION_BREAKER];
    policy->limit.is_on = on[SECTION_LIMIT];
    /* Nobody has spoken of timeouts: a call that is retried must end all the same. */
    uint32_t total = key_find("timeout", "total");
    if (on[SECTION_RETRY] && settings->sections[SECTION_TIMEOUT] == SECTION_UNNAMED &&
        reader->defaults.sections[SECTION_TIMEOUT] == SECTION_UNNAMED)
        origins[total] = place_value(reader, settings, total, true, policy);
    if (on[SECTION_BREAKER]) {
        uint64_t connect_ns = policy->timeout.connect_ns ? policy->timeout.connect_ns : LEASE_CONNECT_NS;
        policy->breaker.params.lease_ns = connect_ns + policy->timeout.response_ns + LEASE_SLACK_NS;
    }
    check_limit(reader, settings, policy);
    check_together(reader, policy, origins);
}

/* There are no usual figures for limits: what is too much depends on the host. */
static void check_limit(struct reader *reader, const struct settings *settings, const struct policy *policy)
{
    if (!policy->limit.is_on || policy->limit.connections || policy->limit.rate_per_s)
        return;
    bool is_own = settings->sections[SECTION_LIMIT] != SECTION_UNNAMED;
    const struct place *place = is_own ? &settings->limit : &reader->defaults.limit;
    if (place->line == 0)
        return;
    problem_add(reader->problems, PROBLEM_ERROR, place->line, place->column,
                "limit: limits nothing (write connections: 100 or rate: 50/s below it, or limit: off)");
}

static bool is_on(const struct settings *rule, const struct settings *defaults, enum section section)
{
    if (sections[section].parent >= 0 && !is_on(rule, defaults, (enum section)sections[section].parent))
        return false;
    int said = rule->sections[section];
    if (said == SECTION_UNNAMED)
        said = defaults->sections[section];
    /* The parts belong to the figures of the whole: on, unless somebody says otherwise. */
    if (said == SECTION_UNNAMED)
        return sections[section].parent >= 0;
    return said == SECTION_ON;
}

/* The rule's value, else that of the defaults, else the figure; nothing where the section is off. */
static struct origin place_value(const struct reader *reader, const struct settings *settings, uint32_t key,
                                 bool is_section_on, struct policy *policy)
{
    const struct setting *own = &settings->keys[key], *common = &reader->defaults.keys[key];
    if (!is_section_on)
        return (struct origin){.source = SOURCE_OFF};
    const struct setting *setting = own->is_set ? own : common;
    if (!setting->is_set) {
        key_set(policy, key, key_rules[key].figure);
        return (struct origin){.source = SOURCE_FIGURE};
    }
    key_set(policy, key, setting->value);
    return (struct origin){
        .line = setting->line,
        .column = (uint16_t)(setting->column < UINT16_MAX ? setting->column : UINT16_MAX),
        .source = own->is_set ? SOURCE_RULE : SOURCE_DEFAULTS,
    };
}

/* What no single value shows. A figure gives way to what somebody wrote. */
static void check_together(struct reader *reader, struct policy *policy, const struct origin *origins)
{
    struct breaker_params *params = &policy->breaker.params;
    if (!policy->breaker.is_on || params->recovery_timeout_ns <= params->max_recovery_timeout_ns)
        return;
    struct origin place = origins[key_find("breaker", "recovery_timeout")];
    if (origins[key_find("breaker", "max_recovery_timeout")].source == SOURCE_FIGURE) {
        params->max_recovery_timeout_ns = params->recovery_timeout_ns;
        return;
    }
    if (place.source == SOURCE_FIGURE) {
        params->recovery_timeout_ns = params->max_recovery_timeout_ns;
        return;
    }
    char first[32], longest[32];
    struct text text = text_begin(first, sizeof first);
    values_add_duration(&text, params->recovery_timeout_ns);
    text = text_begin(longest, sizeof longest);
    values_add_duration(&text, params->max_recovery_timeout_ns);
    problem_add(reader->problems, PROBLEM_ERROR, place.line, place.column,
                "breaker.recovery_timeout: %s is longer than max_recovery_timeout, %s", first, longest);
}
