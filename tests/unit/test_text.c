#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "suite.h"

#define NS_PER_S 1000000000ull

TEST(formats_are_those_of_printf)
{
    char ours[200], theirs[200];
    struct text text = text_begin(ours, sizeof ours);
    text_add(&text, "%s|%.*s|%c|%%|%d|%u|%x|%ld|%lu|%zu|%llu", "all", 3, "abcdef", 'x', INT_MIN, UINT_MAX,
             0xbeefu, LONG_MIN, ULONG_MAX, SIZE_MAX, ULLONG_MAX);
    snprintf(theirs, sizeof theirs, "%s|%.*s|%c|%%|%d|%u|%x|%ld|%lu|%zu|%llu", "all", 3, "abcdef", 'x',
             INT_MIN, UINT_MAX, 0xbeefu, LONG_MIN, ULONG_MAX, SIZE_MAX, ULLONG_MAX);
    ck_assert_str_eq(ours, theirs);
    ck_assert_uint_eq(text.length, strlen(theirs));
}
END_TEST

TEST(a_null_string_is_named)
{
    char buffer[20];
    struct text text = text_begin(buffer, sizeof buffer);
    const char *volatile missing = NULL;
    text_add(&text, "<%s>", missing);
    ck_assert_str_eq(buffer, "<(none)>");
}
END_TEST

TEST(a_precision_bounds_what_is_read)
{
    char buffer[20];
    struct text text = text_begin(buffer, sizeof buffer);
    const char unterminated[3] = {'a', 'b', 'c'};
    text_add(&text, "%.*s", 3, unterminated);
    ck_assert_str_eq(buffer, "abc");
}
END_TEST

TEST(too_little_room_cuts_and_terminates)
{
    for (size_t capacity = 1; capacity < 12; capacity++) {
        char buffer[16];
        memset(buffer, '#', sizeof buffer);
        struct text text = text_begin(buffer, capacity);
        text_add(&text, "%s", "hello ");
        text_add(&text, "%u", 12345);
        ck_assert_uint_eq(strlen(buffer), capacity - 1);
        ck_assert_int_eq(strncmp(buffer, "hello 12345", capacity - 1), 0);
        ck_assert_int_eq(buffer[capacity], '#');
    }
}
END_TEST

TEST(durations_read_as_people_write_them)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } pairs[] = {
        {0, "0s"},
        {1, "1ns"},
        {250000, "250us"},
        {43 * 1000000ull, "43ms"},
        {1500 * 1000000ull, "1.5s"},
        {1230 * 1000000ull, "1.23s"},
        {1050 * 1000000ull, "1.05s"},
        {12340 * 1000000ull, "12.3s"},
        {NS_PER_S, "1s"},
        {999999, "1ms"},
        {999499, "999us"},
        {NS_PER_S - 1, "1s"},
        {60 * NS_PER_S - 1, "1m"},
        {60 * NS_PER_S + 1000, "1m"},
        {1000000 + 1, "1ms"},
        {90 * NS_PER_S, "90s"},
        {120 * NS_PER_S, "2m"},
        {5400 * NS_PER_S, "90m"},
        {24 * 3600 * NS_PER_S, "24h"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        ck_assert_str_eq(duration_text(pairs[i].ns).text, pairs[i].text);
    ck_assert_uint_lt(strlen(duration_text(UINT64_MAX).text), sizeof((struct duration_text *)0)->text - 1);
}
END_TEST

TEST(times_of_day_are_those_of_gmtime)
{
    static const uint64_t seconds[] = {0,          951782399,  951782400,  951868799,  951868800,
                                       1078012800, 1709164800, 1709251199, 1735689599, 1735689600,
                                       4107542399, 4107542400, 1795622125};
    for (size_t i = 0; i < sizeof seconds / sizeof seconds[0]; i++) {
        time_t second = (time_t)seconds[i];
        struct tm utc;
        char expected[40];
        gmtime_r(&second, &utc);
        strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S.007Z", &utc);
        ck_assert_str_eq(time_text(seconds[i] * NS_PER_S + 7999999).text, expected);
    }
}

TEST(every_day_of_four_centuries_is_that_of_gmtime)
{
    for (time_t second = 86399; second < (time_t)86400 * 146097; second += 86400) {
        struct tm utc;
        char expected[40];
        gmtime_r(&second, &utc);
        strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S.000Z", &utc);
        ck_assert_str_eq(time_text((uint64_t)second * NS_PER_S).text, expected);
    }
}

SUITE("text", times_of_day_are_those_of_gmtime, every_day_of_four_centuries_is_that_of_gmtime,
      formats_are_those_of_printf, a_null_string_is_named, a_precision_bounds_what_is_read,
      too_little_room_cuts_and_terminates, durations_read_as_people_write_them)
