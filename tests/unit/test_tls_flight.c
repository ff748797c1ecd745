#include "policy/tls_flight.h"

#include <stdlib.h>
#include <string.h>

#include "suite.h"

/* Records, one after the other. */
static uint8_t sent[20000];
static size_t sent_bytes;

static void send_record(uint8_t type, size_t length)
{
    uint8_t *record = sent + sent_bytes;
    memset(record, 0xaa, 5 + length);
    record[0] = type;
    record[1] = record[2] = 3;
    record[3] = (uint8_t)(length >> 8);
    record[4] = (uint8_t)length;
    if (type == 20)
        record[5] = 1;
    sent_bytes += 5 + length;
}

static void begin(void)
{
    sent_bytes = 0;
    send_record(20, 1);
}

static bool is_last(void)
{
    return tls_flight_is_last(sent, sent_bytes);
}

TEST(a_finished_of_tls_1_3_is_the_last)
{
    static const size_t lengths[] = {53, 69, 45};
    for (unsigned i = 0; i < 3; i++) {
        begin();
        send_record(23, lengths[i]);
        ck_assert(is_last());
    }
}

TEST(so_is_one_that_follows_a_certificate)
{
    begin();
    send_record(23, 1200);
    send_record(23, 286);
    send_record(23, 53);
    ck_assert(is_last());
}

TEST(so_is_that_of_a_resumed_session_of_tls_1_2)
{
    begin();
    send_record(22, 40);
    ck_assert(is_last());
}

TEST(a_request_behind_it_is_to_be_answered)
{
    begin();
    send_record(23, 53);
    send_record(23, 100);
    ck_assert(!is_last());
    begin();
    send_record(22, 40);
    send_record(23, 100);
    ck_assert(!is_last());
}

TEST(a_flight_of_tls_1_2_that_exchanges_keys_is_to_be_answered)
{
    sent_bytes = 0;
    send_record(22, 37);
    send_record(20, 1);
    send_record(22, 40);
    ck_assert(!is_last());
}

TEST(a_second_hello_is_to_be_answered)
{
    begin();
    send_record(22, 512);
    memcpy(sent + 11, "\1\0\1\374", 4); /* 508 bytes */
    ck_assert(!is_last());
}

TEST(what_is_as_long_as_a_finished_is_to_be_answered_where_no_cipher_changes)
{
    sent_bytes = 0;
    send_record(23, 53);
    ck_assert(!is_last());
}

TEST(what_is_cut_or_something_else_is_to_be_answered)
{
    begin();
    send_record(23, 53);
    for (size_t size = 0; size < sent_bytes; size++)
        ck_assert_msg(!tls_flight_is_last(sent, size), "%zu", size);
    ck_assert(!tls_flight_is_last(sent, sent_bytes + 1));
    for (unsigned at = 0; at < 6; at++) {
        uint8_t before = sent[at];
        if (at == 2) /* the minor version may be any */
            continue;
        sent[at] ^= 1;
        ck_assert_msg(!is_last(), "%u", at);
        sent[at] = before;
    }
    begin();
    send_record(23, 54);
    ck_assert(!is_last());
    begin();
    send_record(21, 53);
    ck_assert(!is_last());
}

/* A hello that offers these protocols, each with its length before it. */
static void send_hello(const char *protocols, size_t size)
{
    static const uint8_t begins[] = {22, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3};
    static const uint8_t names[] = {0, 0, 0, 6, 0, 4, 0, 0, 1, 'x'}; /* another extension */
    sent_bytes = sizeof begins;
    memcpy(sent, begins, sizeof begins);
    memset(sent + sent_bytes, 0xaa, 32);
    sent_bytes += 32;
    sent[sent_bytes++] = 2; /* session */
    sent_bytes += 2;
    memcpy(sent + sent_bytes, (uint8_t[]){0, 4, 0x13, 1, 0x13, 2, 1, 0}, 8);
    sent_bytes += 8;
    size_t extensions = sizeof names + (protocols ? 6 + size : 0);
    sent[sent_bytes++] = (uint8_t)(extensions >> 8);
    sent[sent_bytes++] = (uint8_t)extensions;
    memcpy(sent + sent_bytes, names, sizeof names);
    sent_bytes += sizeof names;
    if (protocols) {
        memcpy(sent + sent_bytes, (uint8_t[]){0, 16, 0, (uint8_t)(size + 2), 0, (uint8_t)size}, 6);
        memcpy(sent + sent_bytes + 6, protocols, size);
        sent_bytes += 6 + size;
    }
}

TEST(a_hello_offers_http2_or_does_not)
{
    send_hello("\2h2\10http/1.1", 12);
    ck_assert(tls_hello_offers_http2(sent, sent_bytes));
    send_hello("\10http/1.1\2h2", 12);
    ck_assert(tls_hello_offers_http2(sent, sent_bytes));
    send_hello("\10http/1.1", 9);
    ck_assert(!tls_hello_offers_http2(sent, sent_bytes));
    send_hello("\3h2c\2h3", 7);
    ck_assert(!tls_hello_offers_http2(sent, sent_bytes));
    send_hello(NULL, 0);
    ck_assert(!tls_hello_offers_http2(sent, sent_bytes));
}

TEST(no_other_bytes_are_such_a_hello)
{
    send_hello("\2h2", 3);
    for (size_t size = 0; size < sent_bytes; size++)
        ck_assert(!tls_hello_offers_http2(sent, size));
    static const unsigned each[] = {0, 1, 5};
    for (unsigned i = 0; i < 3; i++) {
        sent[each[i]] ^= 1;
        ck_assert(!tls_hello_offers_http2(sent, sent_bytes));
        sent[each[i]] ^= 1;
    }
    begin();
    send_record(23, 40);
    ck_assert(!tls_hello_offers_http2(sent, sent_bytes));
}

TEST(what_need_not_be_answered_is_of_few_lengths)
{
    unsigned count = 0;
    for (size_t size = 0; size < 1000; size++)
        count += tls_may_be_http2_control(size);
    ck_assert_uint_eq(count, 10);
    ck_assert(tls_may_be_http2_control(31));
    ck_assert(tls_may_be_http2_control(55));
    ck_assert(!tls_may_be_http2_control(43));
}

TEST(whatever_lengths_it_has_it_is_read_within_its_bounds)
{
    uint32_t state = 1;
    for (unsigned round = 0; round < 20000; round++) {
        send_hello("\2h2\10http/1.1", 12);
        for (unsigned i = 0; i < 4; i++) {
            state = state * 1664525 + 1013904223;
            sent[5 + (state >> 8) % (sent_bytes - 5)] = (uint8_t)(state >> 24);
        }
        uint8_t *exact = malloc(sent_bytes); /* for the sanitizer */
        memcpy(exact, sent, sent_bytes);
        tls_hello_offers_http2(exact, sent_bytes);
        free(exact);
    }
}

SUITE("tls_flight", a_finished_of_tls_1_3_is_the_last, so_is_one_that_follows_a_certificate,
      so_is_that_of_a_resumed_session_of_tls_1_2, a_request_behind_it_is_to_be_answered,
      a_flight_of_tls_1_2_that_exchanges_keys_is_to_be_answered, a_second_hello_is_to_be_answered,
      what_is_as_long_as_a_finished_is_to_be_answered_where_no_cipher_changes,
      what_is_cut_or_something_else_is_to_be_answered, a_hello_offers_http2_or_does_not,
      no_other_bytes_are_such_a_hello, what_need_not_be_answered_is_of_few_lengths,
      whatever_lengths_it_has_it_is_read_within_its_bounds)
