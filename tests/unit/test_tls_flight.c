#include "policy/tls_flight.h"

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

TEST(a_request_may_come_behind_a_finished_in_the_same_call)
{
    begin();
    send_record(23, 69);
    ck_assert_uint_eq(tls_flight_before_requests(sent, sent_bytes), 6 + 74);
    send_record(23, 100);
    ck_assert_uint_eq(tls_flight_before_requests(sent, sent_bytes), 6 + 74);
    sent_bytes = 0; /* its change of cipher was sent before */
    send_record(23, 53);
    ck_assert_uint_eq(tls_flight_before_requests(sent, sent_bytes), 58);
    ck_assert_uint_eq(tls_flight_before_requests(sent, sent_bytes - 1), 0);
    sent_bytes = 0;
    send_record(23, 100);
    ck_assert_uint_eq(tls_flight_before_requests(sent, sent_bytes), 0);
}

SUITE("tls_flight", a_finished_of_tls_1_3_is_the_last, so_is_one_that_follows_a_certificate,
      so_is_that_of_a_resumed_session_of_tls_1_2, a_request_behind_it_is_to_be_answered,
      a_flight_of_tls_1_2_that_exchanges_keys_is_to_be_answered, a_second_hello_is_to_be_answered,
      what_is_as_long_as_a_finished_is_to_be_answered_where_no_cipher_changes,
      what_is_cut_or_something_else_is_to_be_answered, a_request_may_come_behind_a_finished_in_the_same_call)
