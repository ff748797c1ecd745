#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "rules/function.h"
#include "suite.h"

#define TOP     "version: 1\nfunctions:\n  - name: f\n"
#define CONNECT TOP "    symbol: PQconnectdb\n    returns: pointer\n    args: [string]\n"
#define FAILS   "    fails_when: {returns: null}\n"
#define RETRY   "    retry: {max_retries: 1}\n"

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
    return set;
}

/* "line:column: text" of the first problem. */
static const char *first_problem(void)
{
    static char buffer[300];
    struct text text = text_begin(buffer, sizeof buffer);
    if (problems.count)
        text_add(&text, "%u:%u: %s", problems.items[0].line, problems.items[0].column,
                 problems.items[0].text);
    return buffer;
}

TEST(a_whole_declaration_is_read)
{
    struct ruleset *set = load_well("version: 1\n"
                                    "functions:\n"
                                    "  - name: connect-db\n"
                                    "    library: libpq.so.*\n"
                                    "    symbol: PQconnectdb\n"
                                    "    returns: pointer\n"
                                    "    args: [string]\n"
                                    "    fails_when:\n"
                                    "      returns: null\n"
                                    "      check: {symbol: PQstatus, args: [result], fails_when: \"!= 0\"}\n"
                                    "    cleanup: {symbol: PQfinish, args: [result]}\n"
                                    "    target: arg 1\n"
                                    "    retry: {max_retries: 4, base_delay: 100ms}\n"
                                    "    breaker: {failure_threshold: 3}\n"
                                    "    limit: {connections: 10}\n"
                                    "    enforce: 50%\n"
                                    "    default: {returns: null, errno: ECONNREFUSED}\n");
    ck_assert_uint_eq(set->function_count, 1);
    const struct function *function = &set->functions[0];
    ck_assert_str_eq(function->rule.name, "connect-db");
    ck_assert_str_eq(function->library, "libpq.so.*");
    ck_assert_str_eq(function_text(function).text, "PQconnectdb(string) -> pointer");
    ck_assert_str_eq(condition_text(&function->fails).text, "null");
    ck_assert_str_eq(inner_call_text(&function->check).text, "PQstatus(result)");
    ck_assert_str_eq(condition_text(&function->check_fails).text, "!= 0");
    ck_assert_str_eq(inner_call_text(&function->cleanup).text, "PQfinish(result)");
    ck_assert_uint_eq(function->target, 1);
    ck_assert_uint_eq(function->rule.policy.retry.max_retries, 4);
    ck_assert_uint_eq(function->rule.policy.breaker.params.failure_threshold, 3);
    ck_assert_uint_eq(function->rule.policy.limit.connections, 10);
    ck_assert_uint_eq(function->rule.policy.enforce_ppm, 500000);
    ck_assert_int_eq(function->fallback.error, ECONNREFUSED);
    ck_assert(function->fallback.is_given && !function->fallback.is_for_failed);
    ruleset_free(set);
}
END_TEST

static const struct {
    const char *text, *problem;
} bad[] = {
    {TOP "    returns: int\n    args: []\n" FAILS RETRY,
     "3:5: symbol: is missing (the name of the function)"},
    {CONNECT RETRY,
     "3:5: fails_when: is missing (what it returns when it has failed: fails_when: {returns: null})"},
    {CONNECT FAILS,
     "3:5: nothing is to be done for this function (add retry:, breaker:, limit: or default:)"},
    {CONNECT FAILS "    timeout: {connect: 1s}\n" RETRY,
     "8:14: timeout: cannot be had for a function: there is no safe way to stop somebody else's code in the "
     "middle "
     "(bound what it connects to by a rule)"},
    {CONNECT FAILS "    breaker:\n", "8:13: default: is missing (a call that is rejected is not made: "
                                     "default: {returns: ...} says what it returns)"},
    {CONNECT FAILS "    breaker: {scope: exchange}\n    default: {returns: null}\n",
     "8:22: breaker.scope: means nothing to a function (its calls are all there is)"},
    {CONNECT FAILS "    retry: {retry_on: refused}\n",
     "8:23: retry.retry_on: means nothing to a function (fails_when says what a failure is)"},
    {CONNECT FAILS RETRY "    default: {returns: null}\n",
     "9:14: default: there is nothing that rejects a call (add breaker:, or when: failed)"},
    {CONNECT FAILS RETRY "    faults: []\n",
     "9:13: faults: needs returns, and maybe errno, probability or every below it"},
    {CONNECT FAILS "    faults: {every: 3}\n",
     "8:13: faults.returns: is missing (what a failed call returns)"},
    {CONNECT FAILS "    faults: {every: 3, returns: -1}\n",
     "8:33: faults.returns: is no failure by fails_when.returns (and its errno)"},
    {CONNECT FAILS "    faults: {every: 3, nth: 2, returns: null}\n",
     "8:21: faults.every: nth says which one it is already (leave one of them out)"},
    {CONNECT FAILS RETRY "    target: arg 2\n", "9:13: target: \"arg 2\": it has 1 argument"},
    {CONNECT FAILS RETRY "    target: host\n",
     "9:13: target: \"host\" is no argument (write arg 1 for the first)"},
    {CONNECT FAILS RETRY "    cleanup: {symbol: PQfinish}\n",
     "9:23: cleanup.args: is missing (what it is called with: args: [result])"},
    {CONNECT FAILS RETRY "    cleanup: {symbol: [PQfinish], args: result}\n",
     "9:23: cleanup.symbol: needs one value, not a list"},
    {CONNECT FAILS RETRY "    libary: x\n", "9:5: unknown key \"libary\" (did you mean library?)"},
    {CONNECT FAILS RETRY "    library: /usr/lib/libpq.so.5\n",
     "9:14: library: \"/usr/lib/libpq.so.5\" has a slash in it (write the soname: libpq.so.5, "
     "libcurl*.so.4)"},
    {CONNECT "    fails_when: {returns: \"< 0\"}\n" RETRY,
     "7:27: fails_when.returns: a pointer is neither less nor more than anything (write null or \"!= "
     "null\")"},
    {CONNECT "    fails_when: {errno: ECONNREFUSED}\n" RETRY,
     "7:25: fails_when.errno: needs returns beside it (errno says nothing after a call that succeeded)"},
    {CONNECT "    fails_when: {returns: null, errno: EWHAT}\n" RETRY,
     "7:40: fails_when.errno: \"EWHAT\" is no error that is known here (write ECONNREFUSED)"},
    {TOP "    symbol: f\n    returns: unsigned\n    args: []\n    fails_when: {returns: \"< 0\"}\n" RETRY,
     "7:27: fails_when.returns: unsigned is declared as the type, which is never below 0 (write ssize_t or "
     "int)"},
    {TOP "    symbol: f\n    returns: int\n    args: []\n    fails_when: {returns: null}\n" RETRY,
     "7:27: fails_when.returns: int is never null (write 0)"},
    {TOP "    symbol: f\n    returns: int8\n    args: []\n    fails_when: {returns: 200}\n" RETRY,
     "7:27: fails_when.returns: \"200\" is more than a value of the type int8 can be"},
    {TOP "    symbol: f\n    returns: int\n    args: []\n    fails_when: {returns: 1.5}\n" RETRY,
     "7:27: fails_when.returns: \"1.5\" is no whole number"},
    {TOP "    symbol: f\n    returns: double\n    args: []\n    fails_when: {returns: null}\n" RETRY,
     "7:27: fails_when.returns: double is never null (write 0)"},
    {TOP "    symbol: f\n    returns: float\n    args: []\n    fails_when: {returns: \"< many\"}\n" RETRY,
     "7:27: fails_when.returns: \"< many\" compares with no number that a fraction can be (at most 15 "
     "digits: "
     "\"< 0.5\", nan or [0, -1.5])"},
    {TOP "    symbol: f\n    returns: double\n    args: []\n    fails_when: {returns: \"> nan\"}\n" RETRY,
     "7:27: fails_when.returns: nan is neither less nor more than anything (write nan or \"!= nan\")"},
    {TOP "    symbol: f\n    returns: double\n    args: []\n    fails_when: {returns: 0}\n"
         "    default: {returns: 0x10, when: failed}\n",
     "8:24: default.returns: \"0x10\" is no number (at most 15 digits: 1.5, -0.25, 1e-3, inf or nan)"},
    {TOP "    symbol: f\n    returns: char*\n    args: []\n" FAILS RETRY,
     "5:14: returns: \"char*\" is no type (did you mean pointer?)"},
    {TOP "    symbol: f\n    returns: pointer\n    args: [string, ...]\n" FAILS RETRY,
     "6:20: args: a function with a variable number of arguments cannot be wrapped (nobody knows what was "
     "passed)"},
    {TOP "    symbol: curl_easy_setopt\n    returns: int\n    args: [pointer, int]\n    fails_when: "
         "{returns: \"!= 0\"}\n" RETRY,
     "4:13: symbol: curl_easy_setopt cannot be wrapped: it takes a variable number of arguments, and nobody "
     "knows what "
     "was passed"},
    {TOP "    symbol: malloc\n    returns: pointer\n    args: [size_t]\n" FAILS RETRY,
     "4:13: symbol: malloc cannot be wrapped: every other function needs it, ours too"},
    {CONNECT FAILS RETRY "  - name: f\n    symbol: g\n    returns: pointer\n    args: []\n" FAILS RETRY,
     "9:5: name: what is on line 3 is called \"f\" too"},
    {"version: 1\nrules:\n  - name: f\n    match: {}\nfunctions:\n  - name: f\n    symbol: g\n    returns: "
     "pointer\n"
     "    args: []\n" FAILS RETRY,
     "6:5: name: what is on line 3 is called \"f\" too"},
};

TEST(each_mistake_is_named_with_its_place)
{
    ck_assert_ptr_null(load(bad[_i].text));
    ck_assert_str_eq(first_problem(), bad[_i].problem);
}
END_TEST

static const struct {
    const char *text, *warning;
} slips[] = {
    {TOP
     "    symbol: PQconnectdb\n    returns: int\n    args: [string]\n    fails_when: {returns: 0}\n" RETRY,
     "3:5: returns: PQconnectdb is declared to return int; it returns pointer: half of the pointer would be "
     "lost"},
    {TOP "    symbol: PQexec\n    returns: pointer\n    args: [pointer]\n" FAILS RETRY,
     "3:5: args: PQexec has 2 arguments, not 1"},
    {TOP "    symbol: redisConnect\n    returns: pointer\n    args: [int, int]\n" FAILS RETRY,
     "3:5: args: argument 1 of redisConnect is declared as int; it is a string"},
    {TOP "    symbol: open_it\n    returns: int\n    args: []\n    fails_when: {returns: 0}\n"
         "    cleanup: {symbol: close_it, args: [result]}\n" RETRY,
     "3:5: returns: what cleanup frees is declared as int: is it a pointer? (half of it would be lost)"},
    {CONNECT "    fails_when: {check: {symbol: PQstatus, args: [result], fails_when: \"!= 0\"}}\n" RETRY,
     "3:5: cleanup: what a failed call returned is lost when it is made again (add cleanup: {symbol: ..., "
     "args: [result]})"},
    {TOP "    symbol: f\n    returns: int\n    args: []\n    fails_when: {returns: \"< 0\"}\n    breaker:\n"
         "    default: {returns: 0}\n",
     "3:5: default.returns: the program takes this for a success (if that is meant, all is well: every such "
     "answer is "
     "recorded)"},
};

TEST(slips_are_warned_of)
{
    struct ruleset *set = load_well(slips[_i].text);
    ruleset_lint(set, &problems);
    ck_assert_str_eq(first_problem(), slips[_i].warning);
    ruleset_free(set);
}
END_TEST

TEST(a_good_declaration_is_not_warned_of)
{
    struct ruleset *set = load_well(CONNECT FAILS RETRY);
    ruleset_lint(set, &problems);
    ck_assert_str_eq(first_problem(), "");
    ruleset_free(set);
}
END_TEST

static bool holds(const char *condition, const char *type, int64_t value)
{
    char buffer[400];
    struct text text = text_begin(buffer, sizeof buffer);
    text_add(&text, TOP "    symbol: f\n    returns: %s\n    args: []\n    fails_when: {returns: %s}\n" RETRY,
             type, condition);
    struct ruleset *set = load_well(buffer);
    bool has_failed = function_has_failed(&set->functions[0], value, 0);
    ruleset_free(set);
    return has_failed;
}

TEST(conditions_compare_as_the_type_says)
{
    ck_assert(holds("null", "pointer", 0) && !holds("null", "pointer", 1));
    ck_assert(holds("-1", "pointer", -1) && !holds("-1", "pointer", 0));
    ck_assert(holds("\"< 0\"", "int", -1) && !holds("\"< 0\"", "int", 0));
    ck_assert(holds("\"!= 0\"", "int", 5) && !holds("\"!= 0\"", "int", 0));
    ck_assert(holds("\"<= 0\"", "int", 0) && !holds("\"<= 0\"", "int", 1));
    ck_assert(holds("\"> 2\"", "uint64", -1) && !holds("\"> 2\"", "uint64", 2));
    ck_assert(holds("\">= 2\"", "long", 2) && !holds("\">= 2\"", "long", -1));
    ck_assert(holds("[1, 5]", "int", 5) && !holds("[1, 5]", "int", 2));
    ck_assert(holds("\"== 3\"", "short", 3) && !holds("\"== 3\"", "short", 4));
    ck_assert(holds("\"!= null\"", "string", 8) && !holds("\"!= null\"", "string", 0));
}
END_TEST

static bool holds_of(const char *condition, const char *type, double value)
{
    return holds(condition, type, bits_of_double(value));
}

TEST(fractions_compare_as_numbers)
{
    ck_assert(holds_of("\"< 0\"", "double", -0.001) && !holds_of("\"< 0\"", "double", 0));
    ck_assert(!holds_of("\"< 0\"", "double", -0.0) && holds_of("0", "double", -0.0));
    ck_assert(holds_of("\"> 0.5\"", "float", 0.75) && !holds_of("\"> 0.5\"", "float", 0.5));
    ck_assert(holds_of("\">= -1.5e2\"", "double", -150) && !holds_of("\">= -150\"", "double", -150.5));
    ck_assert(holds_of("[1, 0.1]", "double", 0.1) && !holds_of("[1, 0.1]", "double", (double)0.1f));
    ck_assert(holds_of("0.1", "float", (double)0.1f) && !holds_of("0.1", "float", 0.1));
    ck_assert(holds_of("nan", "double", (double)NAN) && !holds_of("nan", "double", 0));
    ck_assert(!holds_of("\"< 0\"", "double", (double)NAN) && holds_of("\"!= 0\"", "double", (double)NAN));
    ck_assert(!holds_of("\"!= nan\"", "double", (double)NAN) && holds_of("\"!= nan\"", "double", 1));
    ck_assert(holds_of("-inf", "double", -(double)INFINITY) && !holds_of("inf", "double", 1e300));
}
END_TEST

static const char *const fractions[] = {"0",
                                        "1.5",
                                        "-0.25",
                                        "0.1",
                                        "0.001",
                                        "123456.789",
                                        "1e22",
                                        "-3e-7",
                                        "1e-22",
                                        "9007",
                                        "16777217",
                                        "inf",
                                        "-inf",
                                        "999999999999999",
                                        "1000000",
                                        "nan",
                                        "2.5e12",
                                        "123456789012345e6",
                                        "85222703463633e2"};

TEST(a_fraction_is_said_as_it_was_written)
{
    int64_t bits;
    ck_assert(fraction_parse(fractions[_i], VALUE_DOUBLE, &bits));
    ck_assert_int_eq(bits, bits_of_double(strtod(fractions[_i], NULL)));
    int64_t again;
    struct result_text text = result_text(CLASS_FLOATING, bits);
    ck_assert_msg(fraction_parse(text.text, VALUE_DOUBLE, &again) && again == bits, "%s", text.text);
    ck_assert_uint_le(strlen(text.text), strlen(fractions[_i]) + 1);
    ck_assert(fraction_parse("0.1", VALUE_FLOAT, &bits));
    ck_assert_str_eq(result_text(CLASS_FLOATING, bits).text, "0.1");
}
END_TEST

TEST(what_is_no_fraction_is_refused)
{
    static const char *const bad_fractions[] = {
        "",    "-",    ".",    "1.",  "1e",    "e1",    "1.2.3", "0x1",
        "1,5", "-nan", "1e99", "++1", "1e+-1", "1e-40", "nano",  "1234567890123456",
        "1 "};
    int64_t bits;
    for (size_t i = 0; i < sizeof bad_fractions / sizeof *bad_fractions; i++)
        ck_assert_msg(!fraction_parse(bad_fractions[i], VALUE_DOUBLE, &bits), "%s", bad_fractions[i]);
}
END_TEST

TEST(errno_narrows_what_a_failure_is)
{
    struct ruleset *set =
        load_well(CONNECT "    fails_when: {returns: null, errno: [ECONNREFUSED, ETIMEDOUT]}\n" RETRY);
    ck_assert(function_has_failed(&set->functions[0], 0, ETIMEDOUT));
    ck_assert(!function_has_failed(&set->functions[0], 0, ENOMEM));
    ck_assert(!function_has_failed(&set->functions[0], 1, ETIMEDOUT));
    ruleset_free(set);
}
END_TEST

static const struct {
    const char *text, *host;
    unsigned port;
} targets[] = {
    {"host=db.Internal port=5432 user=a password=host=other", "db.internal", 5432},
    {"user=a password='x host=evil' host='db'", "db", 0},
    {"hostaddr=10.0.0.7 dbname=x", "10.0.0.7", 0},
    {"host=one,two port=1,2", "one", 1},
    {"host=/run/postgresql", NULL, 0},
    {"dbname=x", NULL, 0},
    {"postgresql://user:p@ss:w@db:5433/x?host=other", "db", 5433},
    {"postgresql:///x", NULL, 0},
    {"http://payments.internal", "payments.internal", 0},
    {"https://[::1]:8443/a", "::1", 8443},
    {"ldap://a:389,b:389", "a", 389},
    {"redis.internal", "redis.internal", 0},
    {"redis.internal:6379", "redis.internal", 6379},
    {"redis:service", "redis", 0},
    {"::1", "::1", 0},
    {"[::1", NULL, 0},
    {"", NULL, 0},
    {"host", "host", 0},
    {"host=", NULL, 0},
    {"a\x1b[2J", NULL, 0},
    {"/run/redis.sock", NULL, 0},
};

TEST(a_host_is_found_in_what_programs_pass)
{
    char host[64] = "";
    uint16_t port = 7;
    bool is_found = function_target_parse(targets[_i].text, host, sizeof host, &port);
    ck_assert_msg(is_found == (targets[_i].host != NULL), "%s: %s", targets[_i].text, host);
    if (!is_found)
        return;
    ck_assert_str_eq(host, targets[_i].host);
    ck_assert_uint_eq(port, targets[_i].port);
}
END_TEST

TEST(a_host_that_is_too_long_is_none)
{
    char host[8];
    uint16_t port;
    ck_assert(!function_target_parse("long.name", host, sizeof host, &port));
    ck_assert(function_target_parse("long.na", host, sizeof host, &port));
}
END_TEST

TEST(defaults_are_for_connects_only)
{
    struct ruleset *set =
        load_well("version: 1\ndefaults: {breaker: {}, timeout: {}}\nfunctions:\n  - name: f\n"
                  "    symbol: f\n    returns: int\n    args: []\n    fails_when: {returns: \"< 0\"}\n" RETRY
                  "rules:\n  - name: r\n    match: {}\n");
    ck_assert(!set->functions[0].rule.policy.breaker.is_on);
    ck_assert_uint_eq(set->functions[0].rule.policy.timeout.total_ns, 0);
    ck_assert(set->rules[0].policy.breaker.is_on);
    ruleset_free(set);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("functions");
    TCase *plain = tcase_create("functions");
    suite_add_tcase(suite, plain);
    const TTest *const tests[] = {a_whole_declaration_is_read,         a_good_declaration_is_not_warned_of,
                                  conditions_compare_as_the_type_says, errno_narrows_what_a_failure_is,
                                  a_host_that_is_too_long_is_none,     defaults_are_for_connects_only,
                                  fractions_compare_as_numbers,        what_is_no_fraction_is_refused};
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(plain, tests[i]);
    tcase_add_loop_test(plain, each_mistake_is_named_with_its_place, 0, sizeof bad / sizeof *bad);
    tcase_add_loop_test(plain, a_fraction_is_said_as_it_was_written, 0, sizeof fractions / sizeof *fractions);
    tcase_add_loop_test(plain, slips_are_warned_of, 0, sizeof slips / sizeof *slips);
    tcase_add_loop_test(plain, a_host_is_found_in_what_programs_pass, 0, sizeof targets / sizeof *targets);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
