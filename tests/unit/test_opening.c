#include "policy/opening.h"

#include <string.h>

#include "suite.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
enum { CHANGE_CIPHER = 20, ALERT = 21, HANDSHAKE = 22, DATA = 23 };

static struct opening opening;
static uint8_t bytes[40000];
static size_t size;

static void put_record(uint8_t type, size_t length)
{
    uint8_t *record = bytes + size;
    memset(record, type == CHANGE_CIPHER ? 1 : 0xaa, 5 + length);
    record[0] = type;
    record[1] = record[2] = 3;
    record[3] = (uint8_t)(length >> 8);
    record[4] = (uint8_t)length;
    size += 5 + length;
}

static void put_frame(uint8_t type, size_t length)
{
    memset(bytes + size, 0, 9 + length);
    bytes[size + 1] = (uint8_t)(length >> 8);
    bytes[size + 2] = (uint8_t)length;
    bytes[size + 3] = type;
    size += 9 + length;
}

/* A hello that offers HTTP/2 or does not, and shows a ticket as long as that. */
static void client_says_hello(bool offers_http2, size_t ticket)
{
    static uint8_t hello[2000];
    static const uint8_t begins[] = {22, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3};
    memset(hello, 0, sizeof hello);
    memcpy(hello, begins, sizeof begins);
    size_t at = sizeof begins + 32;
    memcpy(hello + at, "\0\0\2\x13\1\1\0", 7);
    at += 7;
    size_t extensions = at;
    at += 2;
    if (offers_http2) {
        memcpy(hello + at, "\0\20\0\5\0\3\2h2", 9);
        at += 9;
    }
    if (ticket) {
        size_t shown = 2 + 2 + ticket;
        uint8_t shows[] = {0, 41, (uint8_t)(shown >> 8),  (uint8_t)shown,
                           0, 0,  (uint8_t)(ticket >> 8), (uint8_t)ticket};
        memcpy(hello + at, shows, sizeof shows);
        at += sizeof shows + ticket;
    }
    hello[extensions] = (uint8_t)((at - extensions - 2) >> 8);
    hello[extensions + 1] = (uint8_t)(at - extensions - 2);
    ck_assert(opening_begins(&opening, hello, at));
}

static enum opening_says received(void)
{
    enum opening_says says = opening_received(&opening, bytes, size);
    size = 0;
    return says;
}

static void sent(void)
{
    opening_sent(&opening, bytes, size, size);
    size = 0;
}

/* As OpenSSL does it by TLS 1.3. What comes first of what is encrypted is as long as that. */
static void shake_hands(bool offers_http2, size_t ticket, size_t extensions)
{
    client_says_hello(offers_http2, ticket);
    put_record(HANDSHAKE, 122);
    put_record(CHANGE_CIPHER, 1);
    put_record(DATA, extensions);
    if (!ticket) {
        put_record(DATA, 839);
        put_record(DATA, 281);
    }
    put_record(DATA, 69);
    ck_assert_int_eq(received(), OPENING_HANDSHAKES);
    put_record(CHANGE_CIPHER, 1);
    put_record(DATA, 69);
    sent();
}

static void ask(size_t length)
{
    put_record(DATA, length);
    sent();
}

/* The same where it is received byte by byte, or in two pieces: all that was said is what is said at the end. */
static enum opening_says server_says(size_t first, size_t second)
{
    put_record(DATA, first);
    if (second)
        put_record(DATA, second);
    struct opening before = opening;
    for (size_t cut = 1; cut < size; cut++) {
        struct opening in_pieces = before;
        enum opening_says beginning = opening_received(&in_pieces, bytes, cut);
        enum opening_says end = opening_received(&in_pieces, bytes + cut, size - cut);
        struct opening at_once = before;
        enum opening_says whole = opening_received(&at_once, bytes, size);
        ck_assert(end == whole || (whole == OPENING_HANDSHAKES && beginning == whole));
        ck_assert(memcmp(&in_pieces, &at_once, sizeof at_once) == 0 || whole == OPENING_IS_OVER);
    }
    return received();
}

TEST(two_tickets_of_one_length_are_no_answer)
{
    static const size_t lengths[] = {74, 250, 266, 282};
    for (unsigned i = 0; i < 4; i++) {
        shake_hands(false, 0, 27);
        ask(101);
        ck_assert_int_eq(server_says(lengths[i], lengths[i]), OPENING_PREPARES);
        ck_assert(!opening_is_in_doubt(&opening));
        ck_assert_int_eq(server_says(lengths[i], 0), OPENING_IS_OVER); /* a third is an answer */
    }
}

TEST(one_is_in_doubt_until_something_follows)
{
    shake_hands(false, 0, 27);
    ask(101);
    ck_assert_int_eq(server_says(250, 0), OPENING_DOUBTS);
    ck_assert(opening_is_in_doubt(&opening));
    struct opening before = opening;
    ck_assert_int_eq(server_says(250, 0), OPENING_PREPARES);
    opening = before;
    ck_assert_int_eq(server_says(251, 0), OPENING_IS_OVER);
    opening = before;
    ck_assert_int_eq(opening_settled(&opening), OPENING_IS_OVER);
}

TEST(a_beginning_is_neither)
{
    shake_hands(false, 0, 27);
    ask(101);
    put_record(DATA, 250);
    size = 5;
    ck_assert_int_eq(received(), OPENING_PREPARES);
    ck_assert(opening_is_midway(&opening));
    ck_assert(!opening_is_in_doubt(&opening));
}

TEST(what_is_no_ticket_is_an_answer)
{
    static const size_t lengths[] = {20, 59, 601, 16401};
    for (unsigned i = 0; i < 4; i++) {
        shake_hands(false, 0, 27);
        ask(101);
        ck_assert_int_eq(server_says(lengths[i], 0), OPENING_IS_OVER);
    }
    shake_hands(false, 0, 27);
    ask(101);
    put_record(ALERT, 19);
    ck_assert_int_eq(received(), OPENING_IS_OVER);
}

TEST(a_session_that_goes_on_is_given_one_ticket_like_the_one_shown)
{
    shake_hands(false, 208, 27);
    ask(101);
    ck_assert_int_eq(server_says(250, 0), OPENING_PREPARES);
    ck_assert(!opening_is_in_doubt(&opening));
    ck_assert_int_eq(server_says(250, 0), OPENING_IS_OVER);
    shake_hands(false, 208, 27);
    ask(101);
    ck_assert_int_eq(server_says(249, 0), OPENING_DOUBTS);
}

TEST(a_request_in_the_same_call_as_the_end_of_the_handshake_is_one)
{
    client_says_hello(true, 0);
    put_record(HANDSHAKE, 122);
    put_record(DATA, 32);
    put_record(DATA, 69);
    received();
    put_record(CHANGE_CIPHER, 1);
    put_record(DATA, 69);
    put_record(DATA, 24 + 27 + 13 + 17);
    put_record(DATA, 62);
    sent();
    ck_assert_int_eq(server_says(282, 282), OPENING_PREPARES);
    ck_assert_int_eq(server_says(57, 26), OPENING_PREPARES);
    ck_assert_int_eq(server_says(90, 0), OPENING_IS_OVER);
}

TEST(where_the_end_of_the_handshake_is_not_recognized_all_is_an_answer)
{
    client_says_hello(false, 0);
    put_record(HANDSHAKE, 122);
    put_record(DATA, 27);
    put_record(DATA, 69);
    received();
    ask(101);
    ck_assert_int_eq(server_says(250, 250), OPENING_IS_OVER);
}

/* nginx: settings with how much it takes, then that it has heard. */
TEST(settings_of_http2_answer_no_request)
{
    shake_hands(true, 0, 32);
    ask(24 + 27 + 13 + 17);
    ask(62);
    ck_assert_int_eq(server_says(282, 282), OPENING_PREPARES);
    ck_assert_int_eq(server_says(57, 0), OPENING_PREPARES);
    ck_assert_int_eq(server_says(26, 0), OPENING_PREPARES);
    struct opening before = opening;
    ck_assert_int_eq(server_says(57, 0), OPENING_IS_OVER); /* they are said once */
    opening = before;
    ck_assert_int_eq(server_says(120, 0), OPENING_IS_OVER);
}

/* The server has heard the client's settings first: it says so before it answers, and not afterwards. */
TEST(an_answer_may_be_in_the_record_of_the_settings)
{
    shake_hands(true, 0, 32);
    ask(24 + 27 + 13 + 17);
    ask(62);
    ck_assert_int_eq(server_says(282, 282), OPENING_PREPARES);
    ck_assert_int_eq(server_says(80, 0), OPENING_DOUBTS);
    ck_assert(opening_may_go_on(&opening, 31)); /* the client says that it has heard those */
    ck_assert(!opening_may_go_on(&opening, 67));
    struct opening before = opening;
    ck_assert_int_eq(server_says(120, 0), OPENING_IS_OVER);
    opening = before;
    ck_assert_int_eq(opening_settled(&opening), OPENING_IS_OVER);
    opening = before;
    ck_assert_int_eq(server_says(26, 0), OPENING_PREPARES);
    ck_assert(!opening_is_in_doubt(&opening));
}

TEST(they_answer_the_clients_settings)
{
    shake_hands(true, 0, 32);
    ask(24 + 27 + 13 + 17);
    ck_assert_int_eq(server_says(57, 0), OPENING_HANDSHAKES);
    ask(26);
    ck_assert_int_eq(server_says(26, 0), OPENING_HANDSHAKES);
    ask(62);
    ck_assert_int_eq(server_says(120, 0), OPENING_IS_OVER);
}

TEST(settings_as_long_as_a_ticket_are_known_by_what_follows)
{
    shake_hands(true, 0, 32);
    ask(24 + 27 + 13 + 17);
    ask(62);
    ck_assert_int_eq(server_says(66, 0), OPENING_DOUBTS);
    struct opening before = opening;
    ck_assert_int_eq(opening_settled(&opening), OPENING_PREPARES);
    opening = before;
    ck_assert_int_eq(server_says(26, 0), OPENING_PREPARES);
    ck_assert_int_eq(server_says(120, 0), OPENING_IS_OVER);
}

TEST(without_http2_there_are_no_settings)
{
    shake_hands(true, 0, 38); /* offered, and "http/1.1" agreed on */
    ask(101);
    ck_assert_int_eq(server_says(282, 282), OPENING_PREPARES);
    ck_assert_int_eq(server_says(57, 0), OPENING_IS_OVER);
}

/* The server's hello comes apart from its header, as OpenSSL receives it. */
static void shake_hands_of_tls_1_2(bool agrees)
{
    static uint8_t hello[47 + 9] = {2, 0, 0, 52, 3, 3};
    memcpy(hello + 38, "\0\xc0\x30\0\0\11\0\20\0\5\0\3\2h2", 15);
    hello[50] = agrees ? 2 : 0;
    client_says_hello(true, 0);
    bytes[0] = HANDSHAKE;
    bytes[1] = bytes[2] = 3;
    bytes[3] = 0;
    bytes[4] = sizeof hello;
    size = 5;
    ck_assert_int_eq(received(), OPENING_HANDSHAKES);
    memcpy(bytes, hello, sizeof hello);
    size = sizeof hello;
    put_record(HANDSHAKE, 819);
    put_record(HANDSHAKE, 4);
    ck_assert_int_eq(received(), OPENING_HANDSHAKES);
    put_record(HANDSHAKE, 37);
    put_record(CHANGE_CIPHER, 1);
    put_record(HANDSHAKE, 40);
    sent();
    put_record(CHANGE_CIPHER, 1);
    put_record(HANDSHAKE, 40);
    ck_assert_int_eq(received(), OPENING_HANDSHAKES);
}

TEST(tls_1_2_knows_no_tickets_then)
{
    shake_hands_of_tls_1_2(false);
    ask(101);
    ck_assert_int_eq(server_says(250, 250), OPENING_IS_OVER);
}

TEST(settings_over_tls_1_2_answer_no_request)
{
    shake_hands_of_tls_1_2(true);
    ask(24 + 27 + 13 + 24);
    ask(69);
    ck_assert_int_eq(server_says(64, 33), OPENING_PREPARES);
    ck_assert_int_eq(server_says(120, 0), OPENING_IS_OVER);
}

TEST(a_server_of_tls_1_2_may_speak_first)
{
    shake_hands_of_tls_1_2(true);
    ck_assert_int_eq(server_says(64, 0), OPENING_HANDSHAKES);
    ask(24 + 27 + 13 + 24);
    ask(69);
    ck_assert_int_eq(server_says(33, 0), OPENING_PREPARES);
    shake_hands_of_tls_1_2(false);
    ck_assert_int_eq(server_says(250, 0), OPENING_IS_OVER);
}

TEST(a_client_need_not_wait_for_the_end_of_a_handshake_of_tls_1_2)
{
    client_says_hello(false, 0);
    put_record(HANDSHAKE, 819);
    received();
    put_record(HANDSHAKE, 37);
    put_record(CHANGE_CIPHER, 1);
    put_record(HANDSHAKE, 40);
    sent();
    ask(101);
    put_record(CHANGE_CIPHER, 1);
    put_record(HANDSHAKE, 40);
    ck_assert_int_eq(received(), OPENING_HANDSHAKES);
    ck_assert_int_eq(server_says(250, 0), OPENING_IS_OVER);
}

TEST(in_plaintext_frames_are_seen)
{
    memcpy(bytes, PREFACE, 24);
    size = 24;
    put_frame(4, 18);
    ck_assert(opening_begins(&opening, bytes, size));
    ck_assert(opening_is_plain(&opening));
    size = 0;
    put_frame(4, 18);
    put_frame(8, 4);
    ck_assert_int_eq(received(), OPENING_HANDSHAKES);
    put_frame(1, 40);
    sent();
    put_frame(4, 0);
    ck_assert_int_eq(received(), OPENING_PREPARES);
    put_frame(6, 8);
    ck_assert_int_eq(received(), OPENING_PREPARES);
    struct opening before = opening;
    put_frame(1, 40);
    ck_assert_int_eq(received(), OPENING_IS_OVER);
    opening = before;
    put_frame(7, 8); /* it goes away */
    ck_assert_int_eq(received(), OPENING_IS_OVER);
}

static bool needs_no_answer(void)
{
    bool needs_none = opening_needs_no_answer(&opening, bytes, size);
    size = 0;
    return needs_none;
}

TEST(the_end_of_a_handshake_needs_no_answer)
{
    client_says_hello(false, 0);
    put_record(CHANGE_CIPHER, 1);
    ck_assert(needs_no_answer());
    put_record(DATA, 69); /* nothing has come that is encrypted */
    ck_assert(!needs_no_answer());
    put_record(HANDSHAKE, 122);
    put_record(DATA, 27);
    received();
    put_record(DATA, 69); /* its change of cipher was sent before, with a second hello */
    ck_assert(needs_no_answer());
    put_record(CHANGE_CIPHER, 1);
    put_record(DATA, 69);
    ck_assert(needs_no_answer());
    put_record(DATA, 69);
    put_record(DATA, 101);
    ck_assert(!needs_no_answer());
}

TEST(an_alert_needs_no_answer)
{
    client_says_hello(false, 0);
    put_record(ALERT, 2);
    ck_assert(needs_no_answer());
    shake_hands(false, 0, 27);
    put_record(DATA, 19);
    ck_assert(needs_no_answer());
    put_record(DATA, 20);
    ck_assert(!needs_no_answer());
    shake_hands_of_tls_1_2(false);
    ask(101);
    put_record(ALERT, 26);
    ck_assert(needs_no_answer());
    put_record(DATA, 19);
    ck_assert(!needs_no_answer());
}

TEST(whoever_speaks_otherwise_has_no_opening)
{
    ck_assert(!opening_begins(&opening, "GET / HTTP/1.1\r\n\r\n", 18));
    ck_assert(!opening_begins(&opening, "\26\3\1\0\5hello", 10));
    ck_assert(!opening_begins(&opening, "P", 1));
    client_says_hello(false, 0);
    memcpy(bytes, "HTTP/1.1 400", 12);
    size = 12;
    ck_assert_int_eq(received(), OPENING_IS_OVER);
    client_says_hello(false, 0);
    memcpy(bytes, "GET / ", 6);
    size = 6;
    sent(); /* the kernel encrypts it */
    put_record(DATA, 250);
    ck_assert_int_eq(received(), OPENING_IS_OVER);
}

SUITE("opening", two_tickets_of_one_length_are_no_answer, one_is_in_doubt_until_something_follows,
      a_beginning_is_neither, what_is_no_ticket_is_an_answer,
      a_session_that_goes_on_is_given_one_ticket_like_the_one_shown,
      a_request_in_the_same_call_as_the_end_of_the_handshake_is_one,
      where_the_end_of_the_handshake_is_not_recognized_all_is_an_answer, settings_of_http2_answer_no_request,
      an_answer_may_be_in_the_record_of_the_settings, they_answer_the_clients_settings,
      settings_as_long_as_a_ticket_are_known_by_what_follows, without_http2_there_are_no_settings,
      tls_1_2_knows_no_tickets_then, settings_over_tls_1_2_answer_no_request,
      a_server_of_tls_1_2_may_speak_first, a_client_need_not_wait_for_the_end_of_a_handshake_of_tls_1_2,
      in_plaintext_frames_are_seen, the_end_of_a_handshake_needs_no_answer, an_alert_needs_no_answer,
      whoever_speaks_otherwise_has_no_opening)
