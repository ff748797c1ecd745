/* Reads what is to be done about a declared function. */
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "rules/function_reader.h"

/* Nobody knows how long a function of somebody else's takes. A probe whose process has died is found out sooner. */
#define LEASE_NS (60 * NS_PER_S)

#define QUOTED(node) quote((node)->text, (node)->length).text

static void sections_read(struct reader *reader, const struct node *const *values, struct function *function);
static void refuse_setting(struct reader *reader, const struct settings *settings, const char *section,
                           const char *key, const char *why);
static void default_read(struct reader *reader, const struct node *node, struct function *function);
static void check_together(struct reader *reader, const struct node *node, const struct node *const *values,
                           const struct function *function);

void function_policy_read(struct reader *reader, const struct node *node, const struct node *const *values,
                          struct function *function)
{
    if (values[FUNCTION_DEFAULT])
        default_read(reader, values[FUNCTION_DEFAULT], function);
    if (values[FUNCTION_FAULTS])
        function_faults_read(reader, values[FUNCTION_FAULTS], function);
    sections_read(reader, values, function);
    check_together(reader, node, values, function);
}

/* They say what they want themselves: `defaults` are for connects, and nobody else's function may be called twice unless
 * somebody says so. */
static void sections_read(struct reader *reader, const struct node *const *values, struct function *function)
{
    struct rule *rule = &function->rule;
    struct settings *settings = arena_get(reader->scratch, 2 * sizeof *settings);
    if (!settings) {
        reader->is_out_of_memory = true;
        return;
    }
    struct settings *defaults = &settings[1];
    *defaults = reader->defaults;
    memset(&reader->defaults, 0, sizeof reader->defaults);
    if (values[FUNCTION_RETRY])
        section_read(reader, values[FUNCTION_RETRY], SECTION_RETRY, settings);
    if (values[FUNCTION_BREAKER])
        section_read(reader, values[FUNCTION_BREAKER], SECTION_BREAKER, settings);
    if (values[FUNCTION_LIMIT])
        section_read(reader, values[FUNCTION_LIMIT], SECTION_LIMIT, settings);
    refuse_setting(reader, settings, "retry", "retry_on", "fails_when says what a failure is");
    refuse_setting(reader, settings, "retry", "addresses", "it has no addresses");
    refuse_setting(reader, settings, "breaker", "scope", "its calls are all there is");
    refuse_setting(reader, settings, "breaker", "failure_prefix", "fails_when says what a failure is");
    refuse_setting(reader, settings, "breaker", "error", "default says what a call returns that is not made");
    refuse_setting(reader, settings, "limit", "error", "default says what a call returns that is not made");
    struct origin origins[KEY_COUNT_MAX];
    settings_resolve(reader, settings, &rule->policy, origins);
    struct policy *policy = &rule->policy;
    memset(&policy->timeout, 0, sizeof policy->timeout);
    if (policy->breaker.is_on)
        policy->breaker.params.lease_ns = LEASE_NS;
    if (reader->flags & LOAD_ORIGINS) {
        struct origin *kept = reader_get(reader, key_count * sizeof *kept);
        if (kept)
            memcpy(kept, origins, key_count * sizeof *kept);
        rule->origins = kept;
    }
    rule->policy.enforce_ppm = PPM_ONE;
    rule->enforce_origin = (struct origin){.source = SOURCE_FIGURE};
    if (values[FUNCTION_ENFORCE] &&
        ratio_read(reader, values[FUNCTION_ENFORCE], "enforce", &rule->policy.enforce_ppm))
        rule->enforce_origin = (struct origin){.line = values[FUNCTION_ENFORCE]->line,
                                               .column = (uint16_t)values[FUNCTION_ENFORCE]->column,
                                               .source = SOURCE_RULE};
    rule->breaker_params_hash =
        hash_bytes(&function->fails, sizeof function->fails, rule_params_hash(&rule->policy));
    rule->breaker_params_hash =
        hash_bytes(&function->check_fails, sizeof function->check_fails, rule->breaker_params_hash);
    reader->defaults = *defaults;
}

static void refuse_setting(struct reader *reader, const struct settings *settings, const char *section,
                           const char *key, const char *why)
{
    const struct setting *setting = &settings->keys[key_find(section, key)];
    if (setting->is_set)
        problem_add(reader->problems, PROBLEM_ERROR, setting->line, setting->column,
                    "%s.%s: means nothing to a function (%s)", section, key, why);
}

static void default_read(struct reader *reader, const struct node *node, struct function *function)
{
    static const char *const names[] = {"returns", "errno", "when", NULL};
    const struct fields fields = {.path = "default", .names = names};
    const struct node *values[FIELDS_MAX];
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node, "default: needs returns, and maybe errno and when below it");
        return;
    }
    function->fallback.is_given = true;
    bool is_void = function->returns == VALUE_VOID;
    if (values[0] && is_void)
        COMPLAIN(reader, values[0], "default.returns: it returns void");
    else if (values[0])
        value_of_result(reader, values[0], "default.returns", function->returns, &function->fallback.value);
    else if (!is_void)
        COMPLAIN(reader, node, "default.returns: is missing (what a call returns that is not made)");
    if (values[1] && scalar_text(reader, values[1], "default.errno")) {
        function->fallback.error = errno_by_name(values[1]->text);
        if (function->fallback.error == 0)
            COMPLAIN(reader, values[1],
                     "default.errno: %s is no error that is known here (write ECONNREFUSED)",
                     QUOTED(values[1]));
    }
    if (!values[2])
        return;
    if (node_is(values[2], "failed"))
        function->fallback.is_for_failed = true;
    else if (!node_is(values[2], "rejected"))
        COMPLAIN(reader, values[2],
                 "default.when: %s is not known (rejected: for calls that are not made; failed: for those "
                 "that failed, too)",
                 values[2]->kind == NODE_SCALAR ? QUOTED(values[2]) : "that");
}

/* What no single value shows. */
static void check_together(struct reader *reader, const struct node *node, const struct node *const *values,
                           const struct function *function)
{
    const struct policy *policy = &function->rule.policy;
    bool rejects = policy->breaker.is_on || policy->limit.is_on;
    if (rejects && !values[FUNCTION_DEFAULT])
        COMPLAIN(reader, values[policy->breaker.is_on ? FUNCTION_BREAKER : FUNCTION_LIMIT],
                 "default: is missing (a call that is rejected is not made: default: {returns: ...} says "
                 "what it returns)");
    if (values[FUNCTION_DEFAULT] && !rejects && !function->fallback.is_for_failed)
        COMPLAIN(reader, values[FUNCTION_DEFAULT],
                 "default: there is nothing that rejects a call (add breaker:, or when: failed)");
    if (!policy->retry.is_on && !rejects && !function->fallback.is_for_failed && !function->faults.is_given)
        COMPLAIN(reader, node,
                 "nothing is to be done for this function (add retry:, breaker:, limit: or default:)");
}
