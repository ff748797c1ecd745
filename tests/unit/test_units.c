#include <stdint.h>

#include "rules/units.h"
#include "suite.h"

TEST(durations_have_units)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = {
        {"0s", 0},
        {"1ns", 1},
        {"100us", 100000},
        {"250ms", 250000000},
        {"2s", 2000000000},
        {"1.5s", 1500000000},
        {"0.001ms", 1000},
        {"1m", 60000000000},
        {"24h", 86400000000000},
        {"7d", 604800000000000},
        {"0.5h", 1800000000000},
        {"1.000000001s", 1000000001},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t ns = 42;
        ck_assert_msg(duration_parse(good[i].text, &ns), "%s", good[i].text);
        ck_assert_msg(ns == good[i].ns, "%s is %lu", good[i].text, ns);
    }
}
END_TEST

TEST(what_is_no_duration_is_refused)
{
    static const char *const bad[] = {
        "",
        "5",
        "s",
        "5x",
        "-5s",
        "+5s",
        "5 s",
        " 5s",
        "5s ",
        "1e3s",
        "5S",
        "5sec",
        "1.s",
        ".5s",
        "1..s",
        "1.5.s",
        "05s",
        "0x5s",
        "1,5s",
        "inf",
        "0.5ns",
        "1.0000000001s",
        "999999999999999d",
        "9999999999999999s",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t ns;
        ck_assert_msg(!duration_parse(bad[i], &ns), "\"%s\"", bad[i]);
    }
}
END_TEST

TEST(ratios_are_percentages_up_to_all)
{
    uint32_t ppm;
    ck_assert(ratio_parse("20%", &ppm));
    ck_assert_uint_eq(ppm, 200000);
    ck_assert(ratio_parse("0.5%", &ppm));
    ck_assert_uint_eq(ppm, 5000);
    ck_assert(ratio_parse("0%", &ppm));
    ck_assert_uint_eq(ppm, 0);
    ck_assert(ratio_parse("100%", &ppm));
    ck_assert_uint_eq(ppm, 1000000);
    ck_assert(ratio_parse("0.0001%", &ppm));
    ck_assert_uint_eq(ppm, 1);
    static const char *const bad[] = {"",          "%",   "20",   "0.2",  "101%",
                                      "100.0001%", "-1%", "20 %", "20%%", "0.00001%"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!ratio_parse(bad[i], &ppm), "\"%s\"", bad[i]);
}
END_TEST

TEST(rates_are_whole_events_a_second)
{
    uint32_t per_s;
    ck_assert(rate_parse("10/s", &per_s));
    ck_assert_uint_eq(per_s, 10);
    ck_assert(rate_parse("600/m", &per_s));
    ck_assert_uint_eq(per_s, 10);
    ck_assert(rate_parse("36000/h", &per_s));
    ck_assert_uint_eq(per_s, 10);
    ck_assert(rate_parse("0/s", &per_s));
    ck_assert_uint_eq(per_s, 0);
    static const char *const bad[] = {"",     "10",    "/s",           "30/m", "1.5/s",
                                      "10/d", "10 /s", "5000000000/s", "-1/s"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!rate_parse(bad[i], &per_s), "\"%s\"", bad[i]);
}
END_TEST

TEST(factors_may_have_decimals)
{
    uint32_t ppm;
    ck_assert(factor_parse("2", &ppm));
    ck_assert_uint_eq(ppm, 2000000);
    ck_assert(factor_parse("1.5", &ppm));
    ck_assert_uint_eq(ppm, 1500000);
    static const char *const bad[] = {"", "x", "2x", "-2", "1.0000001", "5000"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!factor_parse(bad[i], &ppm), "\"%s\"", bad[i]);
}
END_TEST

TEST(counts_are_plain_digits)
{
    uint32_t count;
    ck_assert(count_parse("0", &count));
    ck_assert_uint_eq(count, 0);
    ck_assert(count_parse("4294967295", &count));
    ck_assert_uint_eq(count, UINT32_MAX);
    static const char *const bad[] = {"",   "4294967296",          "-1", "1.0", "010", "0x10", "1e3",
                                      "5s", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!count_parse(bad[i], &count), "\"%s\"", bad[i]);
}
END_TEST

SUITE("units", durations_have_units, what_is_no_duration_is_refused, ratios_are_percentages_up_to_all,
      rates_are_whole_events_a_second, factors_may_have_decimals, counts_are_plain_digits)
