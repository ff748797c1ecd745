#include "policy/prefix.h"

#include <string.h>

#include "suite.h"

static const struct failure_prefixes prefixes = {
    .count = 3, .items = {{12, "HTTP/1.1 503"}, {12, "HTTP/1.1 500"}, {8, "-LOADING"}}};

static struct prefix_answer judge(uint16_t state, const char *bytes)
{
    return prefix_judge(&prefixes, state, bytes, strlen(bytes));
}

static enum prefix_verdict in_pieces(const char *answer, size_t piece)
{
    struct prefix_answer judged = {.verdict = PREFIX_NEED_MORE};
    for (size_t at = 0; at < strlen(answer) && judged.verdict == PREFIX_NEED_MORE; at += piece) {
        size_t left = strlen(answer) - at;
        judged = prefix_judge(&prefixes, judged.state, answer + at, left < piece ? left : piece);
    }
    return judged.verdict;
}

TEST(whole_answers_are_judged_at_once)
{
    ck_assert_int_eq(judge(0, "HTTP/1.1 503 Service Unavailable\r\n").verdict, PREFIX_MATCH);
    ck_assert_int_eq(judge(0, "-LOADING").verdict, PREFIX_MATCH);
    ck_assert_int_eq(judge(0, "HTTP/1.1 200 OK\r\n").verdict, PREFIX_NO);
    ck_assert_int_eq(judge(0, "x").verdict, PREFIX_NO);
}

TEST(answers_in_pieces_are_judged_alike)
{
    for (size_t piece = 1; piece < 20; piece++) {
        ck_assert_int_eq(in_pieces("HTTP/1.1 500 x", piece), PREFIX_MATCH);
        ck_assert_int_eq(in_pieces("HTTP/1.1 502 x", piece), PREFIX_NO);
        ck_assert_int_eq(in_pieces("-LOADIN", piece), PREFIX_NEED_MORE);
    }
}

TEST(nothing_decides_nothing)
{
    struct prefix_answer answer = judge(0, "");
    ck_assert_int_eq(answer.verdict, PREFIX_NEED_MORE);
    answer = judge(judge(answer.state, "-LOA").state, "");
    ck_assert_int_eq(judge(answer.state, "DING").verdict, PREFIX_MATCH);
}

TEST(what_was_ruled_out_stays_out)
{
    ck_assert_int_eq(judge(judge(0, "HTTP").state, "DING").verdict, PREFIX_NO);
}

TEST(the_shorter_of_two_decides)
{
    static const struct failure_prefixes nested = {.count = 2, .items = {{4, "-ERR"}, {2, "-E"}}};
    ck_assert_int_eq(prefix_judge(&nested, 0, "-EX", 3).verdict, PREFIX_MATCH);
}

TEST(no_prefixes_match_nothing)
{
    static const struct failure_prefixes none = {0};
    ck_assert_int_eq(prefix_judge(&none, 0, "", 0).verdict, PREFIX_NO);
}

TEST(the_longest_prefix_and_bytes_of_zero)
{
    struct failure_prefixes longest = {.count = 1, .items = {{.length = FAILURE_PREFIX_BYTES_MAX}}};
    char zeroes[40] = {0};
    struct prefix_answer answer = prefix_judge(&longest, 0, zeroes, 30);
    ck_assert_int_eq(answer.verdict, PREFIX_NEED_MORE);
    ck_assert_int_eq(prefix_judge(&longest, answer.state, zeroes, 1).verdict, PREFIX_MATCH);
    longest.items[0].length = 255; /* damaged */
    ck_assert_int_eq(prefix_judge(&longest, 0, zeroes, 40).verdict, PREFIX_MATCH);
}

SUITE("prefix", whole_answers_are_judged_at_once, answers_in_pieces_are_judged_alike, nothing_decides_nothing,
      what_was_ruled_out_stays_out, the_shorter_of_two_decides, no_prefixes_match_nothing,
      the_longest_prefix_and_bytes_of_zero)
