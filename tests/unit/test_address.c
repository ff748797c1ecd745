#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "rules/address.h"
#include "suite.h"

static struct address address_of(const char *text)
{
    struct address address;
    ck_assert_msg(address_parse(text, &address), "%s", text);
    return address;
}

static struct prefix prefix_of(const char *text)
{
    struct prefix prefix;
    ck_assert_msg(prefix_parse(text, &prefix), "%s", text);
    return prefix;
}

static bool contains(const char *prefix_text_, const char *text)
{
    struct prefix prefix = prefix_of(prefix_text_);
    struct address address = address_of(text);
    return prefix_contains(&prefix, &address);
}

TEST(an_ipv4_address_and_its_mapped_form_are_one)
{
    struct address plain = address_of("10.0.0.7"), mapped = address_of("::ffff:10.0.0.7");
    struct address hexadecimal = address_of("::ffff:a00:7");
    ck_assert(address_equal(&plain, &mapped));
    ck_assert(address_equal(&plain, &hexadecimal));
    ck_assert(address_is_v4(&plain));
    ck_assert_str_eq(address_text(&mapped).text, "10.0.0.7");
}
END_TEST

TEST(addresses_print_as_rfc_5952_wants)
{
    static const char *const pairs[][2] = {
        {"::", "::"},
        {"::1", "::1"},
        {"1::", "1::"},
        {"2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
        {"1:0:0:2:0:0:0:3", "1:0:0:2::3"},
        {"fe80::0:1", "fe80::1"},
        {"[2001:db8::1]", "2001:db8::1"},
        {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
        {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
        {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct address address = address_of(pairs[i][0]);
        ck_assert_str_eq(address_text(&address).text, pairs[i][1]);
    }
}
END_TEST

TEST(what_is_no_address_is_refused)
{
    static const char *const bad[] = {
        "",
        "1",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "01.2.3.4",
        "1.2.3.4 ",
        "1.2.3.",
        ".1.2.3",
        "1..2.3",
        ":",
        ":::",
        "1:",
        ":1",
        "1::2::3",
        "12345::",
        "g::",
        "1:2:3",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7:8::",
        "::1%eth0",
        "[::1",
        "::1]",
        "[]",
        "[10.0.0.1]",
        "1:2:3:4:5:6:7:1.2.3.4",
        "::1.2.3",
        "localhost",
        "1.2.3.4/8",
        "[::1]:80",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct address address;
        ck_assert_msg(!address_parse(bad[i], &address), "\"%s\"", bad[i]);
    }
}
END_TEST

TEST(parsing_agrees_with_inet_pton)
{
    static const char alphabet[] = "0123456789abcdefF::::....";
    srandom(1);
    for (unsigned round = 0; round < 300000; round++) {
        char text[24];
        size_t length = (size_t)random() % (sizeof text - 1);
        for (size_t i = 0; i < length; i++)
            text[i] = alphabet[(size_t)random() % (sizeof alphabet - 1)];
        text[length] = '\0';
        struct address ours;
        struct in6_addr theirs;
        struct in_addr theirs4;
        bool is_ours = address_parse(text, &ours);
        if (inet_pton(AF_INET, text, &theirs4) == 1) {
            ck_assert_msg(is_ours && memcmp(ours.bytes + 12, &theirs4, 4) == 0, "%s", text);
            continue;
        }
        bool is_theirs = inet_pton(AF_INET6, text, &theirs) == 1;
        ck_assert_msg(is_ours == is_theirs, "%s", text);
        ck_assert_msg(!is_ours || memcmp(ours.bytes, &theirs, 16) == 0, "%s", text);
    }
}
END_TEST

TEST(printing_agrees_with_inet_ntop)
{
    srandom(2);
    for (unsigned round = 0; round < 100000; round++) {
        struct address address;
        for (size_t i = 0; i < 16; i++)
            address.bytes[i] = random() % 3 ? 0 : (uint8_t)random();
        char text[INET6_ADDRSTRLEN];
        inet_ntop(AF_INET6, address.bytes, text, sizeof text);
        if (strchr(text, '.')) /* it writes ::1.2.3.4 for the deprecated v4-compatible addresses */
            continue;
        ck_assert_str_eq(address_text(&address).text, text);
    }
}
END_TEST

TEST(a_prefix_contains_what_shares_its_bits)
{
    ck_assert(contains("10.1.0.0/16", "10.1.255.7"));
    ck_assert(!contains("10.1.0.0/16", "10.2.0.1"));
    ck_assert(contains("10.1.0.0/16", "::ffff:10.1.2.3"));
    ck_assert(contains("10.0.0.128/25", "10.0.0.129"));
    ck_assert(!contains("10.0.0.128/25", "10.0.0.127"));
    ck_assert(contains("10.0.0.7", "10.0.0.7"));
    ck_assert(!contains("10.0.0.7", "10.0.0.8"));
    ck_assert(contains("2001:db8::/33", "2001:db8:7fff::1"));
    ck_assert(!contains("2001:db8::/33", "2001:db8:8000::1"));
    ck_assert(contains("[fd00::]/8", "fdff::1"));
    ck_assert(contains("::ffff:10.0.0.0/104", "10.9.9.9"));
}
END_TEST

TEST(all_of_one_family_is_not_all_of_the_other)
{
    ck_assert(contains("0.0.0.0/0", "192.0.2.1"));
    ck_assert(!contains("0.0.0.0/0", "2001:db8::1"));
    ck_assert(contains("::/0", "2001:db8::1"));
    ck_assert(!contains("::/0", "192.0.2.1"));
}
END_TEST

TEST(bits_beyond_the_length_are_refused_and_can_be_cleared)
{
    static const char *const pairs[][2] = {
        {"10.1.2.3/16", "10.1.0.0/16"},
        {"10.0.0.129/25", "10.0.0.128/25"},
        {"2001:db8::1/64", "2001:db8::/64"},
        {"1.2.3.4/0", "0.0.0.0/0"},
        {"::1/0", "::/0"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct prefix prefix;
        ck_assert_msg(!prefix_parse(pairs[i][0], &prefix), "%s", pairs[i][0]);
        ck_assert(prefix_parse_loosely(pairs[i][0], &prefix));
        ck_assert_str_eq(prefix_text(&prefix).text, pairs[i][1]);
        prefix = prefix_of(pairs[i][1]);
        ck_assert_str_eq(prefix_text(&prefix).text, pairs[i][1]);
    }
}
END_TEST

TEST(what_is_no_prefix_is_refused)
{
    static const char *const bad[] = {"10.0.0.0/33", "::/129",       "10.0.0.0/",    "10.0.0.0/-1",
                                      "10.0.0.0/08", "10.0.0.0/8/8", "/8",           "10/8",
                                      "x/8",         "10.0.0.0/8 ",  "::/4294967297"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct prefix prefix;
        ck_assert_msg(!prefix_parse_loosely(bad[i], &prefix), "\"%s\"", bad[i]);
    }
}
END_TEST

SUITE("address", an_ipv4_address_and_its_mapped_form_are_one, addresses_print_as_rfc_5952_wants,
      what_is_no_address_is_refused, parsing_agrees_with_inet_pton, printing_agrees_with_inet_ntop,
      a_prefix_contains_what_shares_its_bits, all_of_one_family_is_not_all_of_the_other,
      bits_beyond_the_length_are_refused_and_can_be_cleared, what_is_no_prefix_is_refused)
