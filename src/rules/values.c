/* Values of a policy, for people: how they are written, and what they add up to. */
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "policy/call.h"
#include "rules/keys.h"
#include "rules/values.h"

#define RETRY_ON_CONNECT (RETRY_ON_ALL & ~OUTCOME_BIT(OUTCOME_RESOLVE))

static uint64_t with_ladder(const struct policy *policy, uint64_t worst_ns);
static void add_decimal(struct text *text, uint64_t value, uint64_t one);
static void add_prefixes(struct text *text, const struct failure_prefixes *prefixes);
static void add_retry_on(struct text *text, uint32_t mask);

struct value_text policy_value_text(const struct policy *policy, uint32_t key)
{
    struct value_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    uint64_t value = key_get(policy, key);
    bool is_off = value == 0 && key_rules[key].minimum == 0 &&
                  (key_rules[key].type == KEY_DURATION || key_rules[key].type == KEY_COUNT ||
                   key_rules[key].type == KEY_RATE || key_rules[key].type == KEY_PREFIXES);
    if (is_off || !policy_section_is_on(policy, key)) {
        text_add(&text, "off");
        return result;
    }
    switch (key_rules[key].type) {
    case KEY_DURATION:
        values_add_duration(&text, value);
        break;
    case KEY_COUNT:
        text_add(&text, "%lu", value);
        break;
    case KEY_RATIO:
        values_add_ratio(&text, (uint32_t)value);
        break;
    case KEY_FACTOR:
        add_decimal(&text, value, PPM_ONE);
        break;
    case KEY_RATE:
        text_add(&text, "%lu/s", value);
        break;
    case KEY_RETRY_ON:
        add_retry_on(&text, (uint32_t)value);
        break;
    case KEY_JITTER:
        text_add(&text, "%s", jitter_names[value]);
        break;
    case KEY_SCOPE:
        text_add(&text, "%s", scope_names[value]);
        break;
    case KEY_ADDRESSES:
        text_add(&text, "%s", addresses_names[value]);
        break;
    case KEY_PREFIXES:
        add_prefixes(&text, &policy->breaker.failure_prefixes);
        break;
    case KEY_ERROR:
        text_add(&text, "%s", errno_name((int)value));
        break;
    }
    return result;
}

bool policy_section_is_on(const struct policy *policy, uint32_t key)
{
    const char *section = key_table[key].section;
    if (strcmp(section, "retry") == 0)
        return policy->retry.is_on;
    if (strcmp(section, "retry.budget") == 0)
        return policy->retry.is_on && policy->retry.budget.window_ns != 0;
    if (strcmp(section, "breaker") == 0)
        return policy->breaker.is_on;
    if (strcmp(section, "limit") == 0)
        return policy->limit.is_on;
    if (strcmp(section, "breaker.failure_rate") == 0)
        return policy->breaker.is_on && policy->breaker.params.failure_ratio_ppm != 0;
    for (uint32_t i = 0; i < key_count; i++)
        if (strcmp(key_table[i].section, section) == 0 && key_get(policy, i) != 0)
            return true;
    return false;
}

uint32_t policy_attempts(const struct policy *policy)
{
    return policy->retry.is_on && policy->retry.retry_on & RETRY_ON_CONNECT ? 1 + policy->retry.max_retries
                                                                            : 1;
}

uint64_t policy_longest_delays_ns(const struct policy *policy)
{
    struct backoff_params params = policy->retry.backoff;
    params.jitter = JITTER_NONE;
    uint64_t sum_ns = 0, tripled_ns = params.base_delay_ns;
    uint64_t most_ns = params.max_delay_ns ? params.max_delay_ns : NEVER;
    for (uint32_t retry = 1; retry < policy_attempts(policy); retry++) {
        uint64_t delay_ns = backoff_delay(&params, retry, 0, NULL);
        if (policy->retry.backoff.jitter == JITTER_DECORRELATED)
            delay_ns = tripled_ns = tripled_ns > most_ns / 3 ? most_ns : tripled_ns * 3;
        sum_ns = delay_ns > NEVER - sum_ns ? NEVER : sum_ns + delay_ns;
    }
    return sum_ns;
}

uint64_t policy_worst_case_ns(const struct policy *policy)
{
    uint64_t total_ns = policy->timeout.total_ns ? policy->timeout.total_ns : NEVER;
    if (policy->timeout.connect_ns == 0)
        return with_ladder(policy, total_ns);
    uint64_t worst_ns = policy_longest_delays_ns(policy);
    if (policy->limit.is_on)
        worst_ns = policy->limit.wait_ns > NEVER - worst_ns ? NEVER : worst_ns + policy->limit.wait_ns;
    for (uint32_t i = 0; i < policy_attempts(policy); i++)
        worst_ns =
            policy->timeout.connect_ns > NEVER - worst_ns ? NEVER : worst_ns + policy->timeout.connect_ns;
    return with_ladder(policy, worst_ns < total_ns ? worst_ns : total_ns);
}

/* Each fallback host has the time of one attempt, beyond `total`: that may be used up when its turn comes. */
static uint64_t with_ladder(const struct policy *policy, uint64_t worst_ns)
{
    uint64_t connect_ns = policy->timeout.connect_ns;
    for (uint32_t i = 0; policy->ladder && i < policy->ladder->shape.count; i++) {
        bool is_host = policy->ladder->shape.rungs[i].kind == RUNG_HOST;
        uint64_t takes_ns =
            is_host ? policy->ladder->shape.rungs[i].choices * connect_ns : policy->ladder->rungs[i].delay_ns;
        worst_ns = takes_ns > NEVER - worst_ns || (is_host && !connect_ns) ? NEVER : worst_ns + takes_ns;
    }
    return worst_ns;
}

/* Exact, unlike duration_text: the largest unit that needs no decimals, or a few of them for seconds and below. */
void values_add_duration(struct text *text, uint64_t ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"h", 3600 * NS_PER_S}, {"m", 60 * NS_PER_S}, {"s", NS_PER_S},
                 {"ms", NS_PER_MS},      {"us", NS_PER_US},    {"ns", 1}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        bool is_whole = ns % units[i].ns == 0;
        bool is_short = units[i].ns <= NS_PER_S && units[i].ns > 1 && ns % (units[i].ns / 100) == 0;
        if (ns < units[i].ns || (!is_whole && !is_short))
            continue;
        add_decimal(text, ns, units[i].ns);
        text_add(text, "%s", units[i].name);
        return;
    }
    text_add(text, "0s");
}

void values_add_ratio(struct text *text, uint32_t ratio_ppm)
{
    add_decimal(text, ratio_ppm, PPM_ONE / 100);
    text_add(text, "%%");
}

/* value / one, with as many decimals as that has. `one` is a power of ten, or divides the value. */
static void add_decimal(struct text *text, uint64_t value, uint64_t one)
{
    text_add(text, "%lu", value / one);
    const char *before = ".";
    for (uint64_t rest = value % one; rest != 0 && one > 1; rest %= one) {
        one /= 10;
        text_add(text, "%s%lu", before, rest / one);
        before = "";
    }
}

static void add_retry_on(struct text *text, uint32_t mask)
{
    const char *before = "[";
    for (unsigned outcome = 0; outcome <= OUTCOME_OURS; outcome++) {
        if (!(mask & OUTCOME_BIT(outcome)))
            continue;
        text_add(text, "%s%s", before, outcome_name((enum outcome)outcome));
        before = ", ";
    }
    text_add(text, "]");
}

/* In double quotes, with escapes for whatever is not plain ASCII. */
static void add_prefixes(struct text *text, const struct failure_prefixes *prefixes)
{
    static const char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < prefixes->count; i++) {
        text_add(text, "%s\"", i ? ", " : "[");
        for (unsigned at = 0; at < prefixes->items[i].length; at++) {
            unsigned char c = (unsigned char)prefixes->items[i].bytes[at];
            if (c == '"' || c == '\\')
                text_add(text, "\\%c", c);
            else if (c >= 0x20 && c < 0x7f)
                text_add(text, "%c", c);
            else
                text_add(text, "\\x%c%c", digits[c >> 4], digits[c & 15]);
        }
        text_add(text, "\"");
    }
    text_add(text, "]");
}
