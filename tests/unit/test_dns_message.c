#include "drive/dns_message.h"

#include <stdlib.h>
#include <string.h>

#include "policy/random.h"
#include "suite.h"

#define MOST 4u

static struct address found[MOST];
static unsigned count;

/* The question, and behind it so many records. */
static size_t answer(const struct dns_question *question, unsigned code, unsigned records,
                     const uint8_t *record, size_t size, uint8_t *message)
{
    size_t length = question->length;
    memcpy(message, question->bytes, length);
    message[2] |= 0x80;
    message[3] = (uint8_t)code;
    message[7] = (uint8_t)records;
    for (unsigned i = 0; i < records; i++, length += size)
        memcpy(message + length, record, size);
    count = 0;
    return length;
}

static const uint8_t v4[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 7};
static const uint8_t alias[] = {0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 3, 1, 'x', 0};

TEST(a_question_is_as_the_standard_has_it)
{
    static const uint8_t expected[] = {0x12, 0x34, 1,   0,   0, 1,   0, 0, 0,  0, 0,
                                       0,    2,    'a', 'b', 1, 'c', 0, 0, 28, 0, 1};
    struct dns_question question;
    ck_assert(dns_ask(&question, 0x1234, "ab.c", DNS_AAAA));
    ck_assert_uint_eq(question.length, sizeof expected);
    ck_assert_mem_eq(question.bytes, expected, sizeof expected);
}

TEST(what_is_no_name_is_not_asked_for)
{
    struct dns_question question;
    char label[80] = "", name[300] = "";
    memset(label, 'a', 64);
    memset(name, 'a', 254);
    for (unsigned i = 1; i < 254; i += 2)
        name[i] = '.';
    ck_assert(!dns_ask(&question, 1, "", DNS_A));
    ck_assert(!dns_ask(&question, 1, "a..b", DNS_A));
    ck_assert(!dns_ask(&question, 1, label, DNS_A));
    ck_assert(!dns_ask(&question, 1, name, DNS_A));
    name[253] = '\0';
    ck_assert(dns_ask(&question, 1, name, DNS_A));
    ck_assert_uint_le(question.length, sizeof question.bytes);
}

TEST(an_answer_has_addresses_perhaps_of_an_alias_and_no_more_than_wanted)
{
    struct dns_question question;
    uint8_t message[DNS_MESSAGE_BYTES];
    dns_ask(&question, 7, "api.test", DNS_A);
    size_t length = answer(&question, 0, 1, alias, sizeof alias, message);
    ck_assert_int_eq(dns_read(&question, message, length, found, &count, MOST), DNS_ANSWERED);
    ck_assert_uint_eq(count, 0);
    memcpy(message + length, v4, sizeof v4);
    message[7] = 2;
    length += sizeof v4;
    ck_assert_int_eq(dns_read(&question, message, length, found, &count, MOST), DNS_ANSWERED);
    ck_assert_uint_eq(count, 1);
    ck_assert_str_eq(address_text(&found[0]).text, "10.0.0.7");
    length = answer(&question, 0, 9, v4, sizeof v4, message);
    ck_assert_int_eq(dns_read(&question, message, length, found, &count, MOST), DNS_ANSWERED);
    ck_assert_uint_eq(count, MOST);
}

TEST(what_answers_another_question_is_foreign)
{
    struct dns_question question, other;
    uint8_t message[DNS_MESSAGE_BYTES];
    dns_ask(&question, 7, "api.test", DNS_A);
    dns_ask(&other, 7, "apj.test", DNS_A);
    size_t length = answer(&other, 0, 1, v4, sizeof v4, message);
    ck_assert_int_eq(dns_read(&question, message, length, found, &count, MOST), DNS_FOREIGN);
    dns_ask(&other, 8, "api.test", DNS_A);
    length = answer(&other, 0, 1, v4, sizeof v4, message);
    ck_assert_int_eq(dns_read(&question, message, length, found, &count, MOST), DNS_FOREIGN);
    ck_assert_int_eq(dns_read(&question, question.bytes, question.length, found, &count, MOST), DNS_FOREIGN);
    dns_ask(&other, 7, "API.test", DNS_A);
    length = answer(&other, 0, 1, v4, sizeof v4, message);
    ck_assert_int_eq(dns_read(&question, message, length, found, &count, MOST), DNS_ANSWERED);
}

TEST(no_such_name_and_failures_are_told_apart)
{
    struct dns_question question;
    uint8_t message[DNS_MESSAGE_BYTES];
    dns_ask(&question, 7, "api.test", DNS_A);
    size_t length = answer(&question, 3, 0, v4, 0, message);
    ck_assert_int_eq(dns_read(&question, message, length, found, &count, MOST), DNS_NO_SUCH_NAME);
    length = answer(&question, 2, 0, v4, 0, message);
    ck_assert_int_eq(dns_read(&question, message, length, found, &count, MOST), DNS_FAILED);
}

/* Under the sanitizers: nothing beyond the message is read. */
TEST(damaged_and_cut_messages_are_read_to_their_end)
{
    struct dns_question question;
    uint8_t whole[DNS_MESSAGE_BYTES];
    struct random random = {1};
    dns_ask(&question, 7, "api.test", DNS_A);
    size_t length = answer(&question, 0, 6, v4, sizeof v4, whole);
    for (unsigned turn = 0; turn < 200000; turn++) {
        size_t left = random_below(&random, length + 1);
        uint8_t *message = malloc(left); /* of its own, so that the sanitizer sees its end */
        memcpy(message, whole, left);
        for (unsigned i = 0; left && i < turn % 4; i++)
            message[random_below(&random, left)] = (uint8_t)random_below(&random, 256);
        count = 0;
        dns_read(&question, message, left, found, &count, MOST);
        ck_assert_uint_le(count, MOST);
        free(message);
    }
}

SUITE("dns_message", a_question_is_as_the_standard_has_it, what_is_no_name_is_not_asked_for,
      an_answer_has_addresses_perhaps_of_an_alias_and_no_more_than_wanted,
      what_answers_another_question_is_foreign, no_such_name_and_failures_are_told_apart,
      damaged_and_cut_messages_are_read_to_their_end)
