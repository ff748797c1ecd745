#include <string.h>

#include "base/text.h"
#include "rules/rules.h"
#include "suite.h"

#define RULE  "version: 1\nrules:\n  - name: a\n    match: {}\n"
#define UDP   "version: 1\nrules:\n  - name: a\n    match: {protocol: udp}\n"
#define UNIX  "version: 1\nrules:\n  - name: a\n    match: {unix: /run/x}\n"
#define GUARD "    breaker:\n"

static struct problems problems;

static void lint(const char *text, unsigned flags)
{
    struct ruleset *set = ruleset_parse(text, strlen(text), "test.yaml", flags, &problems);
    ck_assert_msg(set != NULL, "%u: %s in\n%s", problems.items[0].line, problems.items[0].text, text);
    ruleset_lint(set, &problems);
    ruleset_free(set);
}

static const struct {
    const char *text, *warning;
} cases[] = {
    {"version: 1\ndefaults: {timeout: {}}\n", "0:0: it has no rules, so nothing is guarded (add rules:)"},
    {RULE GUARD "    retry: {base_delay: 0s}\n",
     "6:25: retry.base_delay: without a delay, all retries fall into the same outage (write 50ms)"},
    {RULE GUARD "    retry: {jitter: none}\n",
     "6:21: retry.jitter: none makes clients that failed together retry together (write full)"},
    {RULE GUARD "    retry: {base_delay: 5s}\n",
     "6:25: retry.base_delay: 5s is longer than max_delay, so every delay is at most 2s (raise max_delay)"},
    {RULE GUARD "    retry: {budget: {ratio: 0%, floor: 0/s}}\n",
     "6:29: retry.budget: allows no retry at all (raise ratio or floor, or write retry: off)"},
    {"version: 1\nrules:\n  - name: a\n    match: {address: 10.0.0.0/8}\n" GUARD
     "    retry: {retry_on: resolve}\n",
     "6:23: retry.retry_on: only lookups are retried, but this rule matches addresses, never a name (add "
     "hosts)"},
    {RULE "    retry:\n",
     "3:5: retries without a circuit breaker add load to a host that is down (add breaker:)"},
    {RULE GUARD "    retry:\n    timeout: {connect: off, total: off}\n",
     "7:36: nothing bounds a retried call: each attempt may take two minutes (set timeout.total)"},
    {RULE GUARD "    retry:\n    timeout: {connect: 8s, total: 8s}\n",
     "7:24: timeout.connect: after 8s nothing of total, 8s, is left for a retry (shorten connect)"},
    {RULE GUARD "    retry: {max_retries: 50}\n    timeout:\n",
     "6:26: retry.max_retries: the delays of 50 retries take about 45.6s, total is 15s (retry less, or raise "
     "total)"},
    {RULE "    timeout: {connect: 3s}\n    patience: 2s\n",
     "3:5: a connect can take 3s, longer than the patience, 2s (shorten timeout.total)"},
    {RULE "    timeout: {connect: 3s, response: 4s}\n    patience: 5s\n",
     "3:5: a connect and its answer can take 7s, longer than the patience, 5s (shorten total or response)"},
    {RULE "    timeout: {connect: 1s, response: 2s}\n    patience: 7s\n",
     "3:5: lookup, connect and answer can take 8s, longer than the patience, 7s (shorten resolve, total or "
     "response)"},
    {RULE "    timeout: {connect: 4s, total: 3s}\n",
     "5:24: timeout.connect: never comes, because total ends the call after 3s (shorten connect)"},
    {RULE "    patience: 5s\n", "3:5: nothing bounds a connect, but the patience is 5s (set timeout.total)"},
    {RULE "    breaker: {failure_threshold: off, failure_rate: off}\n",
     "5:34: breaker: can never trip (set failure_threshold or failure_rate, or write breaker: off)"},
    {RULE "    breaker: {failure_threshold: off, failure_rate: {minimum_calls: 1000000}}\n",
     "5:69: breaker: can hardly ever trip: 1000000 calls in 10s are needed (lower minimum_calls)"},
    {RULE "    timeout: {recv: 5s, response: 10s}\n",
     "5:35: timeout.response: never comes, because recv ends each wait after 5s (raise recv)"},
    {RULE "    breaker: {failure_prefix: HTTP/1.1 503}\n",
     "5:31: breaker.failure_prefix: answers are judged only where their time is taken (set "
     "timeout.response)"},
    {UDP "    timeout: {connect: 1s, response: 5s}\n",
     "5:24: timeout.connect: has no effect on UDP (leave it out)"},
    {UDP "    retry: {max_retries: 1}\n", "5:26: retry.max_retries: has no effect on UDP (leave it out)"},
    {UNIX "    timeout: {resolve: 1s}\n",
     "5:24: timeout.resolve: has no effect on UNIX sockets (leave it out)"},
    {"version: 1\nrules:\n  - name: a\n    match: {unix: x.sock}\n" GUARD,
     "3:5: match.unix: \"x.sock\" never matches: paths begin at the root, abstract names with @ (write "
     "/run/x.sock)"},
    {UNIX GUARD "    retry: {addresses: same}\n",
     "6:24: retry.addresses: has no effect on UNIX sockets (leave it out)"},
    {RULE "  - name: b\n    match: {host: x}\n",
     "5:5: this rule never matches: rule \"a\" on line 3 takes all that it would (move it up)"},
};

TEST(warnings_say_where_what_and_how_to_mend_it)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lint(cases[i].text, LOAD_ORIGINS);
        char buffer[300];
        struct text text = text_begin(buffer, sizeof buffer);
        if (problems.count)
            text_add(&text, "%u:%u: %s", problems.items[0].line, problems.items[0].column,
                     problems.items[0].text);
        ck_assert_str_eq(buffer, cases[i].warning);
        ck_assert_msg(problems.warnings == 1, "%s\n%s", cases[i].text, problems.items[1].text);
        ck_assert_uint_eq(problems.errors, 0);
        ck_assert_int_eq(problems.items[0].kind, PROBLEM_WARNING);
    }
}
END_TEST

TEST(without_origins_warnings_are_at_the_rule)
{
    lint(RULE GUARD "    retry: {jitter: none}\n", 0);
    ck_assert_uint_eq(problems.warnings, 1);
    ck_assert_uint_eq(problems.items[0].line, 3);
    ck_assert_uint_eq(problems.items[0].column, 5);
}
END_TEST

TEST(what_the_defaults_do_wrong_is_said_once)
{
    lint("version: 1\n"
         "defaults: {retry: {jitter: none}, breaker: }\n"
         "rules:\n"
         "  - {name: a, match: {host: a}}\n"
         "  - {name: b, match: {host: b}}\n",
         LOAD_ORIGINS);
    ck_assert_uint_eq(problems.warnings, 1);
    ck_assert_uint_eq(problems.items[0].line, 2);
}
END_TEST

TEST(what_is_fine_gets_no_warning)
{
    static const char *const good[] = {
        RULE,
        RULE "    timeout:\n    retry:\n    breaker:\n",
        RULE "    timeout: {connect: 1s, total: 3s}\n",
        RULE "    timeout: {response: 5s}\n",
        RULE "    timeout: {total: 3s}\n",
        RULE "    timeout: off\n    retry: off\n    breaker: off\n",
        RULE "    retry: {max_retries: 0, jitter: none}\n",
        RULE "    retry: {retry_on: resolve, max_retries: 5}\n",
        RULE GUARD "    retry:\n    timeout: {connect: 1s, resolve: off}\n    patience: 4s\n",
        RULE GUARD "    retry: {retry_on: refused}\n    timeout: {connect: 8s, total: 8s}\n",
        RULE "    breaker: {failure_threshold: off}\n",
        RULE "    breaker: {failure_rate: off}\n",
        RULE "    breaker: {failure_prefix: x, scope: exchange}\n    timeout: {response: 1s}\n",
        RULE "    limit: {connections: 1}\n",
        UDP "    timeout: {response: 1s, recv: 2s, send: 1s}\n    breaker:\n",
        UNIX "    timeout: {connect: 1s, response: 1s}\n    retry:\n    breaker:\n",
        ("version: 1\ndefaults: {timeout: {connect: 1s, resolve: 1s}}\nrules:\n"
         "  - {name: a, match: {protocol: udp}}\n  - {name: b, match: {unix: '*'}}\n"),
        /* An exemption, with nothing after it. */
        "version: 1\nrules:\n  - {name: a, match: {host: x}}\n",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        lint(good[i], LOAD_ORIGINS);
        ck_assert_msg(problems.count == 0, "%s\n%s", good[i], problems.items[0].text);
    }
}
END_TEST

TEST(only_rules_that_surely_never_match_are_named)
{
    static const struct {
        const char *earlier, *later;
        bool never;
    } pairs[] = {
        {"{}", "{}", true},
        {"{host: x}", "{host: x}", true},
        {"{host: x}", "{host: [x, y]}", false},
        {"{host: [x, y]}", "{host: y}", true},
        {"{host: '*.x'}", "{host: a.x}", true},
        {"{host: '*.x'}", "{host: x}", false},
        {"{host: '*.x'}", "{host: '*.a.x'}", true},
        {"{host: '*.a.x'}", "{host: '*.x'}", false},
        {"{host: '*'}", "{host: [a, '*.b']}", true},
        {"{host: '*'}", "{}", false},
        {"{host: '*', address: [0.0.0.0/0, '::/0']}", "{}", false},
        {"{host: x}", "{address: 10.0.0.1}", false},
        {"{address: 10.0.0.0/8}", "{address: [10.1.0.0/16, 10.2.0.1]}", true},
        {"{address: 10.0.0.0/8}", "{host: 10.2.0.1}", true},
        {"{address: 10.0.0.0/8}", "{host: x, address: 10.2.0.1}", false},
        {"{address: 10.1.0.0/16}", "{address: 10.0.0.0/8}", false},
        {"{address: '::/0'}", "{address: 10.0.0.0/8}", false},
        {"{port: 443}", "{host: x}", false},
        {"{port: 443}", "{host: x, port: 443}", true},
        {"{port: [1-100, 101-200]}", "{port: 50-150}", true},
        {"{port: [101-200, 1-100]}", "{port: 50-150}", true},
        {"{port: [1-100, 102-200]}", "{port: 50-150}", false},
        {"{port: [60000-65535]}", "{port: 65535}", true},
        {"{program: curl}", "{program: curl}", true},
        {"{program: curl}", "{}", false},
        {"{}", "{program: curl}", true},
        {"{program: 'c*'}", "{program: curl}", false},
        {"{}", "{protocol: udp}", false},
        {"{}", "{unix: '*'}", false},
        {"{protocol: [tcp, udp]}", "{protocol: udp, port: 53}", true},
        {"{protocol: udp}", "{protocol: [tcp, udp]}", false},
        {"{unix: '*'}", "{unix: '/run/*'}", true},
        {"{unix: '*'}", "{}", false},
        {"{unix: '/run/*'}", "{unix: /run/x.sock}", true},
        {"{unix: '/run/*'}", "{unix: [/run/x.sock, /tmp/x]}", false},
        {"{unix: '/run/*'}", "{unix: '*'}", false},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char buffer[400];
        struct text text = text_begin(buffer, sizeof buffer);
        text_add(&text, "version: 1\nrules:\n  - {name: a, match: %s}\n  - {name: b, match: %s}\n",
                 pairs[i].earlier, pairs[i].later);
        lint(buffer, 0);
        ck_assert_msg(problems.warnings == pairs[i].never, "%s before %s", pairs[i].earlier, pairs[i].later);
    }
}
END_TEST

SUITE("lint", warnings_say_where_what_and_how_to_mend_it, without_origins_warnings_are_at_the_rule,
      what_the_defaults_do_wrong_is_said_once, what_is_fine_gets_no_warning,
      only_rules_that_surely_never_match_are_named)
