#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "policy/call.h"
#include "rules/rules.h"
#include "suite.h"

#define RULE  "version: 1\nrules:\n  - name: a\n    match: {}\n"
#define FAULT "version: 1\nfaults:\n  - name: a\n"

static struct problems problems;

static struct ruleset *load(const char *text)
{
    return ruleset_parse(text, strlen(text), "test.yaml", LOAD_ORIGINS, &problems);
}

static struct ruleset *load_well(const char *text)
{
    struct ruleset *set = load(text);
    ck_assert_msg(set != NULL, "%u:%u: %s", problems.items[0].line, problems.items[0].column,
                  problems.items[0].text);
    ck_assert_uint_eq(problems.errors, 0);
    return set;
}

static uint32_t key(const char *section, const char *name)
{
    for (uint32_t i = 0; i < key_count; i++)
        if (strcmp(key_table[i].section, section) == 0 && strcmp(key_table[i].key, name) == 0)
            return i;
    ck_abort_msg("no key %s.%s", section, name);
}

/* The value as it would be written, and in front of it where it comes from. */
static const char *value(const struct rule *rule, const char *section, const char *name)
{
    static const char *const sources[] = {"off", "figure", "defaults", "rule"};
    static char buffer[200];
    struct text text = text_begin(buffer, sizeof buffer);
    uint32_t i = key(section, name);
    text_add(&text, "%s %s", sources[rule->origins[i].source], policy_value_text(&rule->policy, i).text);
    return buffer;
}

static void ck_loads_as(const char *text, const char *section, const char *name, const char *expected)
{
    struct ruleset *set = load_well(text);
    ck_assert_str_eq(value(&set->rules[0], section, name), expected);
    ruleset_free(set);
}

/* Values and where they come from */

TEST(a_feature_that_is_not_named_is_off)
{
    struct ruleset *set = load_well(RULE);
    const struct rule *rule = &set->rules[0];
    for (uint32_t i = 0; i < key_count; i++) {
        ck_assert_str_eq(policy_value_text(&rule->policy, i).text, "off");
        ck_assert(!policy_section_is_on(&rule->policy, i));
        ck_assert_int_eq(rule->origins[i].source, SOURCE_OFF);
    }
    ck_assert(!rule->policy.retry.is_on);
    ck_assert(!rule->policy.breaker.is_on);
    ck_assert_uint_eq(rule->policy.timeout.total_ns, 0);
    ck_assert_uint_eq(rule->policy.retry.max_retries, 0);
    ck_assert_uint_eq(rule->policy.enforce_ppm, PPM_ONE);
    ruleset_free(set);
}
END_TEST

#define LIMIT "    limit: {connections: 7}\n" /* it has no figures of its own */

TEST(a_feature_that_is_named_only_has_the_figures)
{
    static const char *const expected[][3] = {
        {"timeout", "resolve", "figure 5s"},
        {"timeout", "connect", "figure 5s"},
        {"timeout", "response", "figure off"},
        {"timeout", "recv", "figure off"},
        {"timeout", "send", "figure off"},
        {"timeout", "total", "figure 15s"},
        {"retry", "max_retries", "figure 2"},
        {"retry", "base_delay", "figure 50ms"},
        {"retry", "max_delay", "figure 2s"},
        {"retry", "factor", "figure 2"},
        {"retry", "jitter", "figure full"},
        {"retry", "retry_on", "figure [refused, timeout, unreachable, reset, resolve]"},
        {"retry", "addresses", "figure siblings"},
        {"retry.budget", "ratio", "figure 20%"},
        {"retry.budget", "floor", "figure 10/s"},
        {"retry.budget", "window", "figure 10s"},
        {"breaker", "failure_threshold", "figure 5"},
        {"breaker", "recovery_timeout", "figure 5s"},
        {"breaker", "max_recovery_timeout", "figure 1m"},
        {"breaker", "jitter", "figure 50%"},
        {"breaker", "success_threshold", "figure 1"},
        {"breaker", "scope", "figure connect"},
        {"breaker", "error", "figure ECONNREFUSED"},
        {"breaker", "failure_prefix", "figure off"},
        {"breaker.failure_rate", "ratio", "figure 50%"},
        {"breaker.failure_rate", "minimum_calls", "figure 10"},
        {"breaker.failure_rate", "window", "figure 10s"},
        {"limit", "connections", "rule 7"},
        {"limit", "rate", "figure off"},
        {"limit", "wait", "figure off"},
        {"limit", "error", "figure ECONNREFUSED"},
    };
    static const char *const texts[] = {
        RULE LIMIT "    timeout:\n    retry:\n    breaker:\n",
        RULE LIMIT "    timeout: {}\n    retry: ~\n    breaker: null\n",
        "version: 1\ndefaults:\n  timeout:\n  retry: {}\n  breaker:\nrules:\n  - name: a\n    match: "
        "{}\n" LIMIT,
    };
    ck_assert_uint_eq(sizeof expected / sizeof expected[0], key_count);
    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
        struct ruleset *set = load_well(texts[t]);
        for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
            ck_assert_str_eq(value(&set->rules[0], expected[i][0], expected[i][1]), expected[i][2]);
        ck_assert(set->rules[0].policy.retry.is_on);
        ck_assert(set->rules[0].policy.breaker.is_on);
        ruleset_free(set);
    }
}
END_TEST

TEST(a_figure_gives_way_to_an_open_time_that_somebody_wrote)
{
    struct ruleset *set = load_well("version: 1\n"
                                    "rules:\n"
                                    "  - {name: a, match: {}, breaker: {recovery_timeout: 5m}}\n"
                                    "  - {name: b, match: {port: 1}, breaker: {max_recovery_timeout: 2s}}\n");
    ck_assert_str_eq(value(&set->rules[0], "breaker", "max_recovery_timeout"), "figure 5m");
    ck_assert_str_eq(value(&set->rules[1], "breaker", "recovery_timeout"), "figure 2s");
    ruleset_free(set);
}
END_TEST

TEST(a_rule_goes_before_the_defaults_and_they_before_the_figures)
{
    struct ruleset *set = load_well("version: 1\n"
                                    "defaults:\n"
                                    "  timeout: {connect: 1s, recv: 30s}\n"
                                    "  retry: {max_retries: 7}\n"
                                    "  enforce: 50%\n"
                                    "rules:\n"
                                    "  - name: a\n"
                                    "    match: {}\n"
                                    "    timeout: {connect: 2s}\n"
                                    "    retry:\n"
                                    "    enforce: 0%\n"
                                    "  - name: b\n"
                                    "    match: {}\n"
                                    "    retry: off\n");
    const struct rule *a = &set->rules[0], *b = &set->rules[1];
    ck_assert_str_eq(value(a, "timeout", "connect"), "rule 2s");
    ck_assert_str_eq(value(a, "timeout", "recv"), "defaults 30s");
    ck_assert_str_eq(value(a, "timeout", "total"), "figure 15s");
    ck_assert_str_eq(value(a, "retry", "max_retries"), "defaults 7");
    ck_assert_uint_eq(a->policy.enforce_ppm, 0);
    ck_assert_int_eq(a->enforce_origin.source, SOURCE_RULE);
    ck_assert_uint_eq(a->enforce_origin.line, 11);
    ck_assert_str_eq(value(b, "timeout", "connect"), "defaults 1s");
    ck_assert_str_eq(value(b, "retry", "max_retries"), "off off");
    ck_assert_uint_eq(b->policy.enforce_ppm, 500000);
    ck_assert_int_eq(b->enforce_origin.source, SOURCE_DEFAULTS);
    struct origin origin = a->origins[key("timeout", "connect")];
    ck_assert_uint_eq(origin.line, 9);
    ck_assert_uint_eq(origin.column, 24);
    origin = b->origins[key("timeout", "recv")];
    ck_assert_uint_eq(origin.line, 3);
    ruleset_free(set);
}
END_TEST

TEST(single_values_and_parts_of_sections_can_be_off)
{
    ck_loads_as(RULE "    timeout: {connect: off}\n", "timeout", "connect", "rule off");
    ck_loads_as(RULE "    timeout: {connect: 'off'}\n", "timeout", "connect", "rule off");
    ck_loads_as(RULE "    retry: {max_retries: off}\n", "retry", "max_retries", "rule off");
    ck_loads_as(RULE "    retry: {max_retries: 0}\n", "retry", "max_retries", "rule off");
    ck_loads_as(RULE "    retry: {base_delay: 0s}\n", "retry", "base_delay", "rule off");
    ck_loads_as(RULE "    retry: {budget: off}\n", "retry.budget", "ratio", "off off");
    ck_loads_as(RULE "    retry: {budget: {ratio: 5%}}\n", "retry.budget", "floor", "figure 10/s");
    ck_loads_as(RULE "    breaker: {failure_rate: off}\n", "breaker.failure_rate", "ratio", "off off");
    ck_loads_as(RULE "    breaker: {failure_threshold: off}\n", "breaker", "failure_threshold", "rule off");
}
END_TEST

TEST(a_rule_can_have_what_the_defaults_have_off)
{
    static const char text[] = "version: 1\n"
                               "defaults: {retry: {budget: off}, breaker: off}\n"
                               "rules:\n"
                               "  - {name: a, match: {}, retry: {max_retries: 1}}\n"
                               "  - {name: b, match: {}, retry: {budget: {floor: 1/s}}, breaker: }\n";
    struct ruleset *set = load_well(text);
    ck_assert_uint_eq(set->rules[0].policy.retry.budget.window_ns, 0);
    ck_assert(!set->rules[0].policy.breaker.is_on);
    ck_assert_str_eq(value(&set->rules[1], "retry.budget", "floor"), "rule 1/s");
    ck_assert_str_eq(value(&set->rules[1], "retry.budget", "ratio"), "figure 20%");
    ck_assert(set->rules[1].policy.breaker.is_on);
    ruleset_free(set);
}
END_TEST

TEST(a_retried_call_is_bounded_unless_somebody_says_otherwise)
{
    ck_loads_as(RULE "    retry:\n", "timeout", "total", "figure 15s");
    ck_loads_as(RULE "    retry:\n", "timeout", "connect", "off off");
    ck_loads_as(RULE "    retry:\n    timeout: off\n", "timeout", "total", "off off");
    ck_loads_as(RULE "    retry:\n    timeout: {total: off}\n", "timeout", "total", "rule off");
}
END_TEST

TEST(values_are_read_in_all_their_forms)
{
    ck_loads_as(RULE "    retry: {retry_on: timeout}\n", "retry", "retry_on", "rule [timeout]");
    ck_loads_as(RULE "    retry: {retry_on: [reset, refused, reset]}\n", "retry", "retry_on",
                "rule [refused, reset]");
    ck_loads_as(RULE "    retry: {jitter: decorrelated}\n", "retry", "jitter", "rule decorrelated");
    ck_loads_as(RULE "    retry: {factor: 1.5}\n", "retry", "factor", "rule 1.5");
    ck_loads_as(RULE "    retry: {budget: {ratio: 12.5%, floor: 600/m}}\n", "retry.budget", "ratio",
                "rule 12.5%");
    ck_loads_as(RULE "    retry: {budget: {floor: 600/m}}\n", "retry.budget", "floor", "rule 10/s");
    ck_loads_as(RULE "    breaker: {error: ETIMEDOUT}\n", "breaker", "error", "rule ETIMEDOUT");
    ck_loads_as(RULE "    breaker: {scope: connect}\n", "breaker", "scope", "rule connect");
    ck_loads_as(RULE "    breaker: {scope: exchange}\n", "breaker", "scope", "rule exchange");
    ck_loads_as(RULE "    retry: {addresses: same}\n", "retry", "addresses", "rule same");
    ck_loads_as(RULE "    retry: {budget: {floor: off}}\n", "retry.budget", "floor", "rule off");
    ck_loads_as(RULE "    limit: {rate: 600/m}\n", "limit", "rate", "rule 10/s");
    ck_loads_as(RULE "    limit: {rate: 5/s, connections: off}\n", "limit", "connections", "rule off");
    ck_loads_as(RULE "    limit: {rate: off, connections: 5}\n", "limit", "rate", "rule off");
    ck_loads_as(RULE "    limit: {rate: 5/s, wait: 250ms}\n", "limit", "wait", "rule 250ms");
    ck_loads_as(RULE "    limit: {rate: 5/s, wait: 0s}\n", "limit", "wait", "rule off");
    ck_loads_as(RULE "    limit: {rate: 5/s, error: ETIMEDOUT}\n", "limit", "error", "rule ETIMEDOUT");
    ck_loads_as(RULE "    timeout: {connect: 1234ms}\n", "timeout", "connect", "rule 1234ms");
    ck_loads_as(RULE "    timeout: {connect: 1500ms}\n", "timeout", "connect", "rule 1.5s");
    ck_loads_as(RULE "    timeout: {connect: 90s}\n", "timeout", "connect", "rule 90s");
    ck_loads_as(RULE "    timeout: {recv: 24h}\n", "timeout", "recv", "rule 24h");
}
END_TEST

TEST(failure_prefixes_are_any_bytes)
{
    struct ruleset *set =
        load_well("version: 1\nrules:\n  - name: a\n    match: {}\n    breaker: {failure_prefix: "
                  "[HTTP/1.1 503, -LOADING, \"\\x00\\x7f\\xff\\u00c3\\\"\\\\\\n\"]}\n");
    const struct failure_prefixes *prefixes = &set->rules[0].policy.breaker.failure_prefixes;
    ck_assert_uint_eq(prefixes->count, 3);
    ck_assert_uint_eq(prefixes->items[0].length, 12);
    ck_assert_mem_eq(prefixes->items[0].bytes, "HTTP/1.1 503\0", 13);
    ck_assert_mem_eq(prefixes->items[1].bytes, "-LOADING", 8);
    ck_assert_uint_eq(prefixes->items[2].length, 7);
    ck_assert_mem_eq(prefixes->items[2].bytes, "\0\x7f\xff\xc3\"\\\n", 7);
    static const char printed[] =
        "rule [\"HTTP/1.1 503\", \"-LOADING\", \"\\x00\\x7f\\xff\\xc3\\\"\\\\\\x0a\"]";
    ck_assert_str_eq(value(&set->rules[0], "breaker", "failure_prefix"), printed);

    char buffer[400]; /* what is printed reads as the same again */
    struct text again = text_begin(buffer, sizeof buffer);
    text_add(&again, RULE "    breaker: {failure_prefix: %s}\n", printed + strlen("rule "));
    struct ruleset *second = load_well(buffer);
    ck_assert_mem_eq(prefixes, &second->rules[0].policy.breaker.failure_prefixes, sizeof *prefixes);
    ck_assert_uint_eq(set->rules[0].breaker_params_hash, second->rules[0].breaker_params_hash);
    ruleset_free(second);
    second = load_well(RULE "    breaker: {failure_prefix: x}\n");
    ck_assert_uint_ne(set->rules[0].breaker_params_hash, second->rules[0].breaker_params_hash);
    ruleset_free(second);
    ruleset_free(set);
}
END_TEST

TEST(failure_prefixes_of_the_defaults_can_be_off)
{
    struct ruleset *set = load_well("version: 1\n"
                                    "defaults: {breaker: {failure_prefix: x}}\n"
                                    "rules:\n"
                                    "  - {name: a, match: {}}\n"
                                    "  - {name: b, match: {}, breaker: {failure_prefix: off}}\n"
                                    "  - {name: c, match: {}, breaker: {failure_prefix: 'off'}}\n");
    ck_assert_str_eq(value(&set->rules[0], "breaker", "failure_prefix"), "defaults [\"x\"]");
    ck_assert_str_eq(value(&set->rules[1], "breaker", "failure_prefix"), "rule off");
    ck_assert_str_eq(value(&set->rules[2], "breaker", "failure_prefix"), "rule [\"off\"]");
    ruleset_free(set);
}
END_TEST

TEST(a_limit_may_be_made_of_defaults_and_rule)
{
    struct ruleset *set = load_well("version: 1\n"
                                    "defaults: {limit: {wait: 1s, rate: 50/s}}\n"
                                    "rules:\n"
                                    "  - {name: a, match: {}}\n"
                                    "  - {name: b, match: {}, limit: {connections: 9}}\n"
                                    "  - {name: c, match: {}, limit: off}\n");
    ck_assert_uint_eq(set->rules[0].policy.limit.rate_per_s, 50);
    ck_assert_uint_eq(set->rules[1].policy.limit.connections, 9);
    ck_assert_uint_eq(set->rules[1].policy.limit.wait_ns, NS_PER_S);
    ck_assert_int_eq(set->rules[1].policy.limit.error, ECONNREFUSED);
    ck_assert(set->rules[1].policy.limit.is_on && !set->rules[2].policy.limit.is_on);
    ruleset_free(set);
}
END_TEST

TEST(printed_values_can_be_read_back)
{
    srandom(3);
    for (unsigned round = 0; round < 2000; round++) {
        uint64_t connect_ns = (uint64_t)random() * (uint64_t)random() % (3600 * NS_PER_S) + 1;
        if (round % 2)
            connect_ns = (connect_ns / NS_PER_MS + 1) * NS_PER_MS;
        struct policy policy = {.timeout.connect_ns = connect_ns, .retry.is_on = true};
        policy.retry.backoff.factor_ppm = PPM_ONE + (uint32_t)random() % (99 * PPM_ONE);
        policy.retry.budget =
            (struct budget_params){.ratio_ppm = (uint32_t)random() % PPM_ONE, .window_ns = NS_PER_S};
        char buffer[400];
        struct text text = text_begin(buffer, sizeof buffer);
        text_add(&text, RULE "    timeout: {connect: %s}\n    retry: {factor: %s, budget: {ratio: %s}}\n",
                 policy_value_text(&policy, key("timeout", "connect")).text,
                 policy_value_text(&policy, key("retry", "factor")).text,
                 policy_value_text(&policy, key("retry.budget", "ratio")).text);
        struct ruleset *set = load(buffer);
        if (connect_ns > 3600 * NS_PER_S)
            continue;
        ck_assert_msg(set != NULL, "%s%s", buffer, problems.items[0].text);
        ck_assert_uint_eq(set->rules[0].policy.timeout.connect_ns, connect_ns);
        ck_assert_uint_eq(set->rules[0].policy.retry.backoff.factor_ppm, policy.retry.backoff.factor_ppm);
        ck_assert_uint_eq(set->rules[0].policy.retry.budget.ratio_ppm, policy.retry.budget.ratio_ppm);
        ruleset_free(set);
    }
}
END_TEST

TEST(a_lost_probe_is_given_up_after_all_it_may_take)
{
    struct ruleset *set = load_well(RULE "    breaker:\n    timeout: {connect: 2s, response: 3s}\n");
    ck_assert_uint_eq(set->rules[0].policy.breaker.params.lease_ns, 6 * NS_PER_S);
    ruleset_free(set);
    set = load_well(RULE "    breaker:\n");
    ck_assert_uint_eq(set->rules[0].policy.breaker.params.lease_ns, 6 * NS_PER_S);
    ruleset_free(set);
}
END_TEST

TEST(identity_is_the_name_and_breakers_are_shared_by_their_parameters)
{
    struct ruleset *one = load_well(RULE "    breaker:\n"),
                   *same = load_well(RULE "    breaker: {failure_threshold: 5}\n");
    struct ruleset *other = load_well(RULE "    breaker: {failure_threshold: 6}\n");
    ck_assert_uint_eq(one->rules[0].identity, other->rules[0].identity);
    ck_assert_uint_eq(one->rules[0].breaker_params_hash, same->rules[0].breaker_params_hash);
    ck_assert_uint_ne(one->rules[0].breaker_params_hash, other->rules[0].breaker_params_hash);
    ck_assert_uint_ne(one->hash, same->hash);
    ruleset_free(one);
    ruleset_free(same);
    ruleset_free(other);
}
END_TEST

TEST(the_worst_case_adds_attempts_and_delays_up_to_total)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } cases[] = {
        {RULE, NEVER},
        {RULE "    timeout: {total: off}\n", 5 * NS_PER_S},
        {RULE "    timeout:\n", 5 * NS_PER_S},
        {RULE "    timeout: {connect: off}\n", 15 * NS_PER_S},
        {RULE "    retry:\n", 15 * NS_PER_S},
        {RULE "    retry:\n    timeout: {connect: 1s}\n", 3150 * NS_PER_MS},
        {RULE "    retry:\n    timeout: {connect: 1s, total: 2s}\n", 2 * NS_PER_S},
        {RULE "    retry: {retry_on: resolve}\n    timeout: {connect: 1s}\n", 1 * NS_PER_S},
        {RULE "    retry: {max_retries: 3, base_delay: 1s, max_delay: 2s}\n    timeout: {connect: 1s, total: "
              "off}\n",
         9 * NS_PER_S},
        {RULE "    retry: {max_retries: 2, base_delay: 1s, max_delay: 5s, jitter: decorrelated}\n"
              "    timeout: {connect: 1s, total: off}\n",
         11 * NS_PER_S},
        {RULE "    retry: {max_retries: 100, base_delay: 1h, max_delay: off, factor: 100}\n"
              "    timeout: {connect: 1s, total: off}\n",
         NEVER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ruleset *set = load_well(cases[i].text);
        ck_assert_msg(policy_worst_case_ns(&set->rules[0].policy) == cases[i].ns, "%s: %lu", cases[i].text,
                      policy_worst_case_ns(&set->rules[0].policy));
        ruleset_free(set);
    }
}
END_TEST

/* Errors */

static const struct {
    const char *text, *problem;
} bad[] = {
#include "bad_rules.inc"
};

TEST(errors_say_where_what_and_how_to_mend_it)
{
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct ruleset *set = load(bad[i].text);
        ck_assert_msg(set == NULL, "%s", bad[i].text);
        ck_assert_uint_ge(problems.errors, 1);
        char buffer[300];
        struct text text = text_begin(buffer, sizeof buffer);
        text_add(&text, "%u:%u: %s", problems.items[0].line, problems.items[0].column,
                 problems.items[0].text);
        ck_assert_str_eq(buffer, bad[i].problem);
    }
}
END_TEST

TEST(one_pass_finds_all_errors_in_the_order_of_the_file)
{
    ck_assert_ptr_null(load("version: 1\n"
                            "defaults:\n"
                            "  timeout: {connect: 5}\n"
                            "  retry: {max_retries: many}\n"
                            "rules:\n"
                            "  - match: {host: 'a b', port: x}\n"
                            "    breaker: {error: EWHAT}\n"
                            "  - name: '?'\n"));
    ck_assert_uint_eq(problems.errors, 8);
    ck_assert_uint_eq(problems.count, 8);
    for (uint32_t i = 1; i < problems.count; i++)
        ck_assert_uint_le(problems.items[i - 1].line, problems.items[i].line);
}
END_TEST

TEST(more_errors_than_are_kept_are_still_counted)
{
    char buffer[4000];
    struct text text = text_begin(buffer, sizeof buffer);
    text_add(&text, "version: 1\n");
    for (unsigned i = 0; i < 100; i++)
        text_add(&text, "wrong_%u: 1\n", i);
    ck_assert_ptr_null(load(buffer));
    ck_assert_uint_eq(problems.errors, 100);
    ck_assert_uint_eq(problems.count, PROBLEMS_MAX);
}
END_TEST

TEST(an_error_in_an_alias_is_one_error)
{
    ck_assert_ptr_null(load("version: 1\n"
                            "rules:\n"
                            "  - {name: a, match: {}, timeout: &slow {connect: 2x}}\n"
                            "  - {name: b, match: {}, timeout: *slow}\n"));
    ck_assert_uint_eq(problems.errors, 1);
}
END_TEST

TEST(a_zero_byte_is_an_error)
{
    static const char text[] = "version: 1\nrules: \0[]\n";
    ck_assert_ptr_null(ruleset_parse(text, sizeof text - 1, "x", 0, &problems));
    ck_assert_str_eq(problems.items[0].text, "not valid text: control characters are not allowed");
    ck_assert_uint_eq(problems.items[0].line, 2);
    ck_assert_uint_eq(problems.items[0].column, 8);
}
END_TEST

/* Bounds */

TEST(aliases_are_followed_but_not_for_ever)
{
    struct ruleset *set =
        load_well("version: 1\n"
                  "rules:\n"
                  "  - {name: a, match: {host: &hosts [a.x, b.x]}, timeout: &slow {connect: 9s}}\n"
                  "  - {name: b, match: {host: *hosts}, timeout: *slow}\n");
    ck_assert_uint_eq(set->rules[1].match.host_count, 2);
    ck_assert_uint_eq(set->rules[1].policy.timeout.connect_ns, 9 * NS_PER_S);
    ruleset_free(set);

    char buffer[2000];
    struct text text = text_begin(buffer, sizeof buffer);
    text_add(&text, "version: 1\nrules:\n  - &x0 [a, a]\n");
    for (unsigned i = 1; i < 30; i++)
        text_add(&text, "  - &x%u [*x%u, *x%u]\n", i, i - 1, i - 1);
    ck_assert_ptr_null(load(buffer));
    ck_assert_str_eq(problems.items[0].text, "more than a million values, aliases followed");
}
END_TEST

TEST(a_file_that_is_too_large_is_refused)
{
    char *text = malloc(RULES_SIZE_MAX + 1);
    memset(text, ' ', RULES_SIZE_MAX + 1);
    ck_assert_ptr_null(ruleset_parse(text, RULES_SIZE_MAX + 1, "x", 0, &problems));
    ck_assert_str_eq(problems.items[0].text, "is larger than 4 MB");
    free(text);
}
END_TEST

TEST(fifty_thousand_rules_load)
{
    char *buffer = malloc(RULES_SIZE_MAX);
    struct text text = text_begin(buffer, RULES_SIZE_MAX);
    text_add(&text, "version: 1\nrules:\n");
    for (unsigned i = 0; i < 50000; i++)
        text_add(&text, "  - {name: r%u, match: {host: h%u.example.com}, retry: }\n", i, i);
    struct ruleset *set = load_well(buffer);
    ck_assert_uint_eq(set->rule_count, 50000);
    struct target target = {.name = "h49999.example.com"};
    ck_assert_str_eq(ruleset_find(set, &target, "x")->name, "r49999");
    ruleset_free(set);
    free(buffer);
}
END_TEST

/* Files */

static const char *file_with(const char *text, mode_t mode)
{
    static char path[] = "/tmp/test_load.XXXXXX";
    strcpy(path, "/tmp/test_load.XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    fchmod(fd, mode);
    close(fd);
    return path;
}

static const char *problem_of_loading(const char *path)
{
    struct ruleset *set = ruleset_load(path, 0, &problems);
    if (set) {
        ruleset_free(set);
        return "loaded";
    }
    return problems.items[0].text;
}

TEST(a_file_loads_and_errno_stays)
{
    const char *path = file_with(RULE, 0644);
    errno = EDOM;
    struct ruleset *set = ruleset_load(path, 0, &problems);
    ck_assert_int_eq(errno, EDOM);
    ck_assert_ptr_nonnull(set);
    ck_assert_str_eq(set->path, path);
    ck_assert_ptr_null(set->rules[0].origins);
    ruleset_free(set);
    unlink(path);
    ck_assert_str_eq(problem_of_loading(path), "cannot be opened: no such file");
    ck_assert_int_eq(errno, EDOM);
}
END_TEST

TEST(files_that_others_can_write_are_refused)
{
    static const mode_t modes[] = {0664, 0646, 0666};
    for (size_t i = 0; i < 3; i++) {
        const char *path = file_with(RULE, modes[i]);
        ck_assert_str_eq(problem_of_loading(path), "others can write it (chmod go-w FILE)");
        unlink(path);
    }
    if (geteuid() != 0)
        return;
    const char *path = file_with(RULE, 0644);
    ck_assert_int_eq(chown(path, 12345, 0), 0);
    ck_assert_str_eq(problem_of_loading(path), "belongs to user 12345 (it must belong to root or to user 0)");
    unlink(path);
}
END_TEST

TEST(only_regular_files_are_read_and_a_fifo_does_not_block)
{
    char path[] = "/tmp/test_load_fifo.XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(path));
    ck_assert_str_eq(problem_of_loading(path), "is not a regular file");
    rmdir(path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_str_eq(problem_of_loading(path), "is not a regular file");
    unlink(path);
    ck_assert_str_eq(problem_of_loading("/dev/null"), "is not a regular file");
    ck_assert_str_eq(problem_of_loading("/dev/null/x"),
                     "cannot be opened: a part of the path is not a directory");
}
END_TEST

TEST(loading_leaves_no_descriptor_behind)
{
    int before = dup(0);
    close(before);
    const char *path = file_with("version: 1\nrules: [\n", 0600);
    problem_of_loading(path);
    problem_of_loading("/tmp");
    unlink(path);
    int after = dup(0);
    close(after);
    ck_assert_int_eq(before, after);
}
END_TEST

/* By the path that the compiler was given, or from somewhere below the source directory. */
static size_t read_rules(const char *name, char *buffer, size_t size)
{
    static const char up[] = "../../../../../";
    for (size_t i = 0; i < sizeof up + 3; i += 3) {
        char path[500];
        struct text text = text_begin(path, sizeof path);
        if (i < sizeof up)
            text_add(&text, "%srules/%s", up + i, name);
        else
            text_add(&text, "%.*s/../../rules/%s", (int)(strrchr(__FILE__, '/') - __FILE__), __FILE__, name);
        int fd = open(path, O_RDONLY);
        if (fd < 0)
            continue;
        ssize_t got = read(fd, buffer, size);
        close(fd);
        ck_assert_int_gt(got, 0);
        return (size_t)got;
    }
    ck_abort_msg("rules/%s is not found from here", name);
}

TEST(the_rules_that_come_along_load_without_a_word)
{
    static const char *const names[] = {"default.yaml", "strict-api.yaml", "observe-only.yaml",
                                        "database.yaml", "dns.yaml"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char buffer[10000];
        size_t size = read_rules(names[i], buffer, sizeof buffer);
        struct ruleset *set = ruleset_parse(buffer, size, names[i], LOAD_ORIGINS, &problems);
        ck_assert_msg(set != NULL, "%s:%u: %s", names[i], problems.items[0].line, problems.items[0].text);
        ruleset_lint(set, &problems);
        ck_assert_msg(problems.count == 0, "%s:%u: %s", names[i], problems.items[0].line,
                      problems.items[0].text);
        ruleset_free(set);
    }
}
END_TEST

TEST(the_starters_do_what_their_names_say)
{
    char buffer[10000];
    size_t size = read_rules("strict-api.yaml", buffer, sizeof buffer);
    struct ruleset *set = ruleset_parse(buffer, size, "strict-api.yaml", 0, &problems);
    struct target target = {.name = "v1.api.example.com", .port = 443};
    const struct rule *rule = ruleset_find(set, &target, "curl");
    ck_assert_str_eq(rule->name, "api");
    ck_assert_uint_eq(rule->policy.timeout.connect_ns, 1 * NS_PER_S);
    ck_assert_uint_eq(rule->policy.timeout.response_ns, 5 * NS_PER_S);
    ck_assert_uint_eq(rule->policy.timeout.total_ns, 8 * NS_PER_S);
    ck_assert_uint_eq(rule->policy.retry.max_retries, 2);
    ck_assert(rule->policy.breaker.is_on);
    ck_assert_uint_eq(rule->policy.enforce_ppm, PPM_ONE);
    ruleset_free(set);

    size = read_rules("observe-only.yaml", buffer, sizeof buffer);
    set = ruleset_parse(buffer, size, "observe-only.yaml", 0, &problems);
    rule = ruleset_find(set, &target, "curl");
    ck_assert_uint_eq(rule->policy.timeout.total_ns, 8 * NS_PER_S);
    ck_assert_uint_eq(rule->policy.enforce_ppm, 0);
    ruleset_free(set);

    size = read_rules("database.yaml", buffer, sizeof buffer);
    set = ruleset_parse(buffer, size, "database.yaml", 0, &problems);
    struct target database = {.name = "db.example.com", .port = 5432};
    rule = ruleset_find(set, &database, "psql");
    ck_assert_str_eq(rule->name, "database");
    ck_assert_uint_eq(rule->policy.retry.max_retries, 5);
    ck_assert_int_eq(rule->policy.retry.backoff.jitter, JITTER_EQUAL);
    ck_assert_uint_eq(rule->policy.timeout.response_ns, 0);
    ck_assert_ptr_null(ruleset_find(set, &target, "curl"));
    ruleset_free(set);

    size = read_rules("dns.yaml", buffer, sizeof buffer);
    set = ruleset_parse(buffer, size, "dns.yaml", 0, &problems);
    rule = ruleset_find(set, &target, "curl");
    ck_assert_uint_eq(rule->policy.timeout.resolve_ns, 3 * NS_PER_S);
    ck_assert_uint_eq(rule->policy.timeout.connect_ns, 0);
    ck_assert_uint_eq(rule->policy.retry.retry_on, OUTCOME_BIT(OUTCOME_RESOLVE));
    ruleset_free(set);
}
END_TEST

TEST(the_built_in_rules_spare_loopback_and_bound_everything_else)
{
    struct ruleset *set = ruleset_builtin(0, &problems);
    ck_assert_ptr_nonnull(set);
    ck_assert_str_eq(set->path, "built-in");
    struct target target = {.has_address = true, .port = 80};
    static const char *const loopback[] = {"127.0.0.1", "127.9.9.9", "::1"};
    for (size_t i = 0; i < 3; i++) {
        ck_assert(address_parse(loopback[i], &target.address));
        ck_assert_str_eq(ruleset_find(set, &target, "x")->name, "loopback");
    }
    static const char *const others[] = {"192.0.2.1", "2001:db8::1"};
    for (size_t i = 0; i < 2; i++) {
        ck_assert(address_parse(others[i], &target.address));
        const struct rule *rule = ruleset_find(set, &target, "x");
        ck_assert_uint_eq(rule->policy.timeout.connect_ns, 5 * NS_PER_S);
        ck_assert_uint_eq(rule->policy.timeout.resolve_ns, 0);
        ck_assert(rule->policy.breaker.is_on && !rule->policy.retry.is_on);
    }
    ruleset_free(set);
    ruleset_free(NULL);
}
END_TEST

TEST(windows_line_ends_and_a_byte_order_mark_are_fine)
{
    struct ruleset *set =
        load_well("\xef\xbb\xbfversion: 1\r\nrules:\r\n  - name: a\r\n    match: {}\r\n    retry:\r\n");
    ck_assert(set->rules[0].policy.retry.is_on);
    ck_assert_uint_eq(set->rules[0].line, 3);
    ruleset_free(set);
}
END_TEST

TEST(errors_have_names)
{
    ck_assert_int_eq(errno_by_name("ECONNREFUSED"), ECONNREFUSED);
    ck_assert_int_eq(errno_by_name("EAGAIN"), EAGAIN);
    ck_assert_int_eq(errno_by_name("ENONSENSE"), 0);
    ck_assert_str_eq(errno_name(ETIMEDOUT), "ETIMEDOUT");
    ck_assert_ptr_null(errno_name(0));
    ck_assert_ptr_null(errno_name(100000));
}
END_TEST

SUITE("load", a_feature_that_is_not_named_is_off, a_feature_that_is_named_only_has_the_figures,
      a_figure_gives_way_to_an_open_time_that_somebody_wrote,
      a_rule_goes_before_the_defaults_and_they_before_the_figures,
      single_values_and_parts_of_sections_can_be_off, a_rule_can_have_what_the_defaults_have_off,
      a_retried_call_is_bounded_unless_somebody_says_otherwise, values_are_read_in_all_their_forms,
      failure_prefixes_are_any_bytes, failure_prefixes_of_the_defaults_can_be_off,
      a_limit_may_be_made_of_defaults_and_rule, printed_values_can_be_read_back,
      a_lost_probe_is_given_up_after_all_it_may_take,
      identity_is_the_name_and_breakers_are_shared_by_their_parameters,
      the_worst_case_adds_attempts_and_delays_up_to_total, errors_say_where_what_and_how_to_mend_it,
      one_pass_finds_all_errors_in_the_order_of_the_file, more_errors_than_are_kept_are_still_counted,
      an_error_in_an_alias_is_one_error, a_zero_byte_is_an_error, aliases_are_followed_but_not_for_ever,
      a_file_that_is_too_large_is_refused, fifty_thousand_rules_load, a_file_loads_and_errno_stays,
      files_that_others_can_write_are_refused, only_regular_files_are_read_and_a_fifo_does_not_block,
      loading_leaves_no_descriptor_behind, the_rules_that_come_along_load_without_a_word,
      the_starters_do_what_their_names_say, the_built_in_rules_spare_loopback_and_bound_everything_else,
      windows_line_ends_and_a_byte_order_mark_are_fine, errors_have_names)
