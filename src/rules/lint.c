/* What is legal in a rule file and will disappoint. */
#include <string.h>

#include "base/clock.h"
#include "policy/call.h"
#include "rules/faults.h"
#include "rules/function.h"
#include "rules/keys.h"
#include "rules/pattern.h"
#include "rules/problems.h"
#include "rules/reader.h"
#include "rules/values.h"

#define COVER_STEPS      50000000ull /* comparisons to find rules that never match; about a second */
#define BUSY_CALLS_PER_S 10000u      /* no program connects to one host more often */

/* Durations in messages. */
struct duration {
    char text[32];
};
static struct duration of(uint64_t ns);

static void warn_at(struct problems *problems, const struct rule *rule, const char *section, const char *key,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));
static void lint_retry(const struct rule *rule, struct problems *problems);
static void lint_time(const struct rule *rule, struct problems *problems);
static void lint_breaker(const struct rule *rule, struct problems *problems);
static void lint_waits(const struct rule *rule, struct problems *problems);
static void lint_protocol(const struct rule *rule, struct problems *problems);
static void lint_paths(const struct rule *rule, struct problems *problems);
static void lint_order(const struct ruleset *set, struct problems *problems);

static bool is_udp_only(const struct rule *rule)
{
    return rule->match.protocols == PROTOCOL_BIT(PROTOCOL_UDP);
}

void ruleset_lint(const struct ruleset *set, struct problems *problems)
{
    functions_lint(set, problems);
    if (set->rule_count == 0 && set->fault_count == 0 && set->function_count == 0)
        problem_add(problems, PROBLEM_WARNING, 0, 0, "it has no rules, so nothing is guarded (add rules:)");
    for (uint32_t i = 0; i < set->rule_count; i++) {
        const struct rule *rule = &set->rules[i];
        if (rule->policy.retry.is_on && rule->policy.retry.max_retries > 0 && !is_udp_only(rule))
            lint_retry(rule, problems);
        if (!is_udp_only(rule))
            lint_time(rule, problems);
        lint_protocol(rule, problems);
        if (rule->policy.breaker.is_on)
            lint_breaker(rule, problems);
        lint_waits(rule, problems);
        lint_paths(rule, problems);
        degrade_lint(rule, problems);
    }
    lint_order(set, problems);
    faults_lint(set, problems);
}

static void lint_retry(const struct rule *rule, struct problems *problems)
{
    const struct policy *policy = &rule->policy;
    const struct backoff_params *backoff = &policy->retry.backoff;
    const struct budget_params *budget = &policy->retry.budget;
    if (backoff->base_delay_ns == 0)
        warn_at(problems, rule, "retry", "base_delay",
                "retry.base_delay: without a delay, all retries fall into the same outage (write 50ms)");
    else if (backoff->jitter == JITTER_NONE)
        warn_at(problems, rule, "retry", "jitter",
                "retry.jitter: none makes clients that failed together retry together (write full)");
    if (backoff->max_delay_ns && backoff->base_delay_ns > backoff->max_delay_ns)
        warn_at(
            problems, rule, "retry", "base_delay",
            "retry.base_delay: %s is longer than max_delay, so every delay is at most %s (raise max_delay)",
            of(backoff->base_delay_ns).text, of(backoff->max_delay_ns).text);
    if (budget->window_ns && budget->ratio_ppm == 0 && budget->floor_per_s == 0)
        warn_at(problems, rule, "retry.budget", "ratio",
                "retry.budget: allows no retry at all (raise ratio or floor, or write retry: off)");
    if (policy->retry.retry_on == OUTCOME_BIT(OUTCOME_RESOLVE) && rule->match.prefix_count &&
        !rule->match.host_count)
        warn_at(problems, rule, "retry", "retry_on",
                "retry.retry_on: only lookups are retried, but this rule matches addresses, never a name "
                "(add hosts)");
    if (!policy->breaker.is_on && policy->retry.retry_on != OUTCOME_BIT(OUTCOME_RESOLVE))
        warn_at(problems, rule, NULL, NULL,
                "retries without a circuit breaker add load to a host that is down (add breaker:)");
}

static void lint_time(const struct rule *rule, struct problems *problems)
{
    const struct policy *policy = &rule->policy;
    uint64_t connect_ns = policy->timeout.connect_ns, total_ns = policy->timeout.total_ns;
    uint64_t worst_ns = policy_worst_case_ns(policy);
    bool is_retried = policy_attempts(policy) > 1;
    if (worst_ns == NEVER && is_retried)
        warn_at(problems, rule, "timeout", "total",
                "nothing bounds a retried call: each attempt may take two minutes (set timeout.total)");
    /* The mean of the delays: whoever is well above it loses his last retries every time. */
    uint64_t delays_ns = policy_longest_delays_ns(policy);
    if (policy->retry.backoff.jitter == JITTER_EQUAL)
        delays_ns -= delays_ns / 4;
    else if (policy->retry.backoff.jitter != JITTER_NONE)
        delays_ns /= 2;
    if (is_retried && total_ns && connect_ns >= total_ns &&
        policy->retry.retry_on & OUTCOME_BIT(OUTCOME_TIMEOUT))
        warn_at(problems, rule, "timeout", "connect",
                "timeout.connect: after %s nothing of total, %s, is left for a retry (shorten connect)",
                of(connect_ns).text, of(total_ns).text);
    else if (is_retried && total_ns && delays_ns >= total_ns)
        warn_at(problems, rule, "retry", "max_retries",
                "retry.max_retries: the delays of %u retries take about %s, total is %s (retry less, or "
                "raise total)",
                policy->retry.max_retries, duration_text(delays_ns).text, of(total_ns).text);
    if (!is_retried && total_ns && connect_ns > total_ns && rule->origins &&
        rule->origins[key_find("timeout", "connect")].source != SOURCE_FIGURE)
        warn_at(problems, rule, "timeout", "connect",
                "timeout.connect: never comes, because total ends the call after %s (shorten connect)",
                of(total_ns).text);
    if (policy->patience_ns == 0)
        return;
    uint64_t answered_ns =
        worst_ns > NEVER - policy->timeout.response_ns ? NEVER : worst_ns + policy->timeout.response_ns;
    /* Only names are looked up first. */
    bool is_named = rule->match.host_count || !rule->match.prefix_count;
    uint64_t resolve_ns = is_named && !rule->match.path_count ? policy->timeout.resolve_ns : 0;
    if (worst_ns == NEVER)
        warn_at(problems, rule, NULL, NULL,
                "nothing bounds a connect, but the patience is %s (set timeout.total)",
                of(policy->patience_ns).text);
    else if (worst_ns > policy->patience_ns)
        warn_at(problems, rule, NULL, NULL,
                "a connect can take %s, longer than the patience, %s (shorten timeout.total)",
                of(worst_ns).text, of(policy->patience_ns).text);
    else if (answered_ns > policy->patience_ns)
        warn_at(
            problems, rule, NULL, NULL,
            "a connect and its answer can take %s, longer than the patience, %s (shorten total or response)",
            of(answered_ns).text, of(policy->patience_ns).text);
    else if (resolve_ns > policy->patience_ns - answered_ns)
        warn_at(
            problems, rule, NULL, NULL,
            "lookup, connect and answer can take %s, longer than the patience, %s (shorten resolve, total "
            "or response)",
            of(resolve_ns + answered_ns).text, of(policy->patience_ns).text);
}

static void lint_breaker(const struct rule *rule, struct problems *problems)
{
    const struct policy *policy = &rule->policy;
    const struct breaker_params *params = &policy->breaker.params;
    if (params->failure_threshold == 0 && params->failure_ratio_ppm == 0)
        warn_at(problems, rule, "breaker", "failure_threshold",
                "breaker: can never trip (set failure_threshold or failure_rate, or write breaker: off)");
    else if (params->failure_threshold == 0 &&
             params->minimum_calls / BUSY_CALLS_PER_S > params->window_ns / NS_PER_S)
        warn_at(problems, rule, "breaker.failure_rate", "minimum_calls",
                "breaker: can hardly ever trip: %u calls in %s are needed (lower minimum_calls)",
                params->minimum_calls, of(params->window_ns).text);
    if (policy->breaker.failure_prefixes.count && policy->timeout.response_ns == 0)
        warn_at(problems, rule, "breaker", "failure_prefix",
                "breaker.failure_prefix: answers are judged only where their time is taken (set "
                "timeout.response)");
}

static void lint_waits(const struct rule *rule, struct problems *problems)
{
    const struct policy *policy = &rule->policy;
    if (policy->timeout.recv_ns && policy->timeout.response_ns > policy->timeout.recv_ns)
        warn_at(problems, rule, "timeout", "response",
                "timeout.response: never comes, because recv ends each wait after %s (raise recv)",
                of(policy->timeout.recv_ns).text);
}

/* Keys of this very rule that mean nothing to what it is for; those of `defaults` are meant for other rules. */
static void lint_protocol(const struct rule *rule, struct problems *problems)
{
    bool is_unix = rule->match.path_count != 0;
    if (!rule->origins || (!is_unix && !is_udp_only(rule)))
        return;
    for (uint32_t key = 0; key < key_count; key++) {
        const struct key_info *info = &key_table[key];
        bool is_retry = strncmp(info->section, "retry", 5) == 0;
        bool is_idle = is_unix ? strcmp(info->key, "resolve") == 0 || strcmp(info->key, "addresses") == 0
                               : is_retry || strcmp(info->key, "resolve") == 0 ||
                                     strcmp(info->key, "connect") == 0 || strcmp(info->key, "total") == 0;
        if (is_idle && rule->origins[key].source == SOURCE_RULE)
            warn_at(problems, rule, info->section, info->key, "%s.%s: has no effect on %s (leave it out)",
                    info->section, info->key, is_unix ? "UNIX sockets" : "UDP");
    }
}

/* Programs may connect to relative paths; rules see all of them from the root. */
static void lint_paths(const struct rule *rule, struct problems *problems)
{
    for (uint32_t i = 0; i < rule->match.path_count; i++)
        if (!strchr("/@*?[\\", rule->match.paths[i][0]))
            warn_at(problems, rule, NULL, NULL,
                    "match.unix: %s never matches: paths begin at the root, abstract names with @ (write "
                    "/run/%s)",
                    quote(rule->match.paths[i], strlen(rule->match.paths[i])).text, rule->match.paths[i]);
}

/* Rules behind one that takes everything from them. */
static void lint_order(const struct ruleset *set, struct problems *problems)
{
    uint64_t steps = COVER_STEPS;
    for (uint32_t i = 1; i < set->rule_count; i++) {
        const struct rule *rule = &set->rules[i], *earlier = set->rules;
        while (earlier < rule && steps > 0 && !match_covers(&earlier->match, &rule->match, &steps)) {
            steps -= steps > 0;
            earlier++;
        }
        if (steps == 0)
            return;
        bool is_elsewhere = earlier->file != rule->file;
        if (earlier < rule)
            warn_at(
                problems, rule, NULL, NULL,
                "this rule never matches: rule \"%s\" on line %u%s%s takes all that it would (move it up)",
                earlier->name, earlier->line, is_elsewhere ? " of " : "", is_elsewhere ? earlier->path : "");
    }
}

/* At the value where somebody wrote it and that is known, else at the rule. */
static void warn_at(struct problems *problems, const struct rule *rule, const char *section, const char *key,
                    const char *format, ...)
{
    struct origin place = {.line = rule->line, .column = (uint16_t)rule->column};
    if (section && rule->origins && rule->origins[key_find(section, key)].line)
        place = rule->origins[key_find(section, key)];
    char message[sizeof((struct problem *)0)->text];
    struct text text = text_begin(message, sizeof message);
    va_list arguments;
    va_start(arguments, format);
    text_add_list(&text, format, arguments);
    va_end(arguments);
    problems->now.path = rule->file ? rule->path : NULL;
    problems->now.file = rule->file;
    problem_add(problems, PROBLEM_WARNING, place.line, place.column, "%s", message);
    problems->now.path = NULL;
    problems->now.file = 0;
}

static struct duration of(uint64_t ns)
{
    struct duration result;
    struct text text = text_begin(result.text, sizeof result.text);
    values_add_duration(&text, ns);
    return result;
}
