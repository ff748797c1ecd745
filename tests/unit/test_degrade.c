/* Ladders as rule files say them: read, kept, and what they add up to. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "policy/call.h"
#include "state/ladders.h"
#include "suite.h"

#define RULE                                                                                                 \
    "version: 1\nrules:\n  - name: a\n    match: {host: a.test}\n    timeout: {connect: 1s, total: 4s}\n"

static struct ruleset *load(const char *text)
{
    static struct problems problems;
    struct ruleset *set = ruleset_parse(text, strlen(text), "test.yaml", 0, &problems);
    ck_assert_msg(set != NULL, "%u:%u: %s", problems.items[0].line, problems.items[0].column,
                  problems.items[0].text);
    return set;
}

TEST(all_rungs_are_read)
{
    struct ruleset *set =
        load(RULE "    degrade:\n"
                  "      - {host: [B.test:443, 10.0.0.9, \"[::1]:80\", \"::2\"], present: real, stick: 30s}\n"
                  "      - stale:\n"
                  "      - respond: {text: \"x\\r\\n\", when: request, delay: 5ms}\n"
                  "      - addresses: [10.0.0.7, fd00::7]\n");
    const struct ladder *ladder = set->rules[0].policy.ladder;
    ck_assert_uint_eq(ladder->shape.count, 4);
    ck_assert_uint_eq(ladder->shape.rungs[0].choices, 4);
    const struct fallback *hosts = ladder->rungs[0].hosts;
    ck_assert_str_eq(hosts[0].name, "b.test");
    ck_assert_uint_eq(hosts[0].port, 443);
    ck_assert(!hosts[1].name && hosts[1].port == 0);
    ck_assert_str_eq(address_text(&hosts[2].address).text, "::1");
    ck_assert_uint_eq(hosts[2].port, 80);
    ck_assert_str_eq(address_text(&hosts[3].address).text, "::2");
    ck_assert(ladder->rungs[0].presents_real);
    ck_assert_uint_eq(ladder->rungs[0].stick_ns, 30 * NS_PER_S);
    ck_assert_uint_eq(ladder->rungs[1].stale.max_age_ns, 24 * 3600 * NS_PER_S);
    ck_assert_uint_eq(ladder->rungs[1].stale.after_ns, 1800 * NS_PER_MS);
    ck_assert_uint_eq(ladder->rungs[2].canned.length, 3);
    ck_assert(ladder->rungs[2].awaits_request && !ladder->rungs[2].hangs_up);
    ck_assert_uint_eq(ladder->rungs[3].address_count, 2);
    ruleset_free(set);
}

TEST(off_is_no_ladder)
{
    struct ruleset *set = load(RULE "    degrade: off\n");
    ck_assert_ptr_null(set->rules[0].policy.ladder);
    ruleset_free(set);
}

TEST(an_http_answer_ends_the_connection_where_nothing_else_tells_its_end)
{
    static const struct {
        const char *answer;
        bool hangs_up;
    } answers[] = {
        {"HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\n\\r\\nx", false},
        {"HTTP/1.1 200 OK\\r\\ncontent-length: 1\\r\\nConnection: close\\r\\n\\r\\nx", true},
        {"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n", false},
        {"HTTP/1.1 200 OK\\r\\n\\r\\nContent-Length: 1\\r\\n", true},
        {"+OK\\r\\n", false},
    };
    for (unsigned i = 0; i < sizeof answers / sizeof *answers; i++) {
        char text[512];
        snprintf(text, sizeof text, RULE "    degrade:\n      - respond: {when: request, text: \"%s\"}\n",
                 answers[i].answer);
        struct ruleset *set = load(text);
        ck_assert_msg(set->rules[0].policy.ladder->rungs[0].hangs_up == answers[i].hangs_up, "%s",
                      answers[i].answer);
        ruleset_free(set);
    }
}

TEST(each_fallback_host_may_take_one_attempt_beyond_total)
{
    struct ruleset *set = load(RULE "    degrade:\n      - host: [b.test, c.test]\n"
                                    "      - respond: {text: x, delay: 500ms}\n");
    ck_assert_uint_eq(policy_worst_case_ns(&set->rules[0].policy), 3500 * NS_PER_MS);
    ruleset_free(set);
}

TEST(a_ladder_is_kept_once_and_outlives_its_rules)
{
    static const char text[] = RULE "    degrade:\n      - host: b.test\n      - respond: {text: canned}\n";
    struct ruleset *set = load(text);
    const struct kept_ladder *kept = ladder_keep(&set->rules[0]);
    ck_assert_ptr_nonnull(kept);
    ruleset_free(set);
    ck_assert_str_eq(kept->rule.name, "a");
    ck_assert_str_eq(kept->ladder.rungs[0].hosts[0].name, "b.test");
    ck_assert_mem_eq(kept->ladder.rungs[1].canned.bytes, "canned", 6);
    ck_assert_ptr_null(kept->fallback.policy.ladder);
    set = load(text);
    ck_assert_ptr_eq(ladder_keep(&set->rules[0]), kept);
    ruleset_free(set);
    set = load(RULE "    degrade:\n      - host: b.test\n      - respond: {text: Canned}\n");
    ck_assert_ptr_ne(ladder_keep(&set->rules[0]), kept);
    ruleset_free(set);
    set = load(RULE);
    ck_assert_ptr_null(ladder_keep(&set->rules[0]));
    ruleset_free(set);
}

SUITE("degrade", all_rungs_are_read, off_is_no_ladder,
      an_http_answer_ends_the_connection_where_nothing_else_tells_its_end,
      each_fallback_host_may_take_one_attempt_beyond_total, a_ladder_is_kept_once_and_outlives_its_rules)
