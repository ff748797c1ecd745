#include "policy/http2.h"

#include <string.h>

#include "suite.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
enum type { DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GO_AWAY, WINDOW_UPDATE, CONTINUATION };

/* Frames, one after the other. */
static uint8_t sent[20000];
static size_t sent_bytes;

static void send_frame(enum type type, uint8_t flags, size_t length)
{
    uint8_t *frame = sent + sent_bytes;
    memset(frame, 0xaa, 9 + length);
    frame[0] = 0;
    frame[1] = (uint8_t)(length >> 8);
    frame[2] = (uint8_t)length;
    frame[3] = (uint8_t)type;
    frame[4] = flags;
    sent_bytes += 9 + length;
}

static bool is_alone_unanswered(enum type type, uint8_t flags, size_t length)
{
    sent_bytes = 0;
    send_frame(type, flags, length);
    return http2_needs_no_answer(sent, sent_bytes);
}

TEST(a_preface_is_known)
{
    ck_assert(http2_is_preface(PREFACE, 24));
    ck_assert(http2_is_preface(PREFACE "and more", 32));
    ck_assert(!http2_is_preface(PREFACE, 23));
    ck_assert(!http2_is_preface("PUT / HTTP/1.1\r\nHost: a\r\n\r\n", 27));
}

TEST(headers_are_a_request)
{
    memcpy(sent, PREFACE, 24);
    sent_bytes = 24;
    send_frame(SETTINGS, 0, 18);
    send_frame(WINDOW_UPDATE, 0, 4);
    ck_assert(!http2_has_request(sent, sent_bytes));
    send_frame(HEADERS, 4, 40);
    ck_assert(http2_has_request(sent, sent_bytes));
    ck_assert(!http2_has_request(sent, sent_bytes - 1)); /* the end of it is still to be sent */
    ck_assert(http2_has_request(sent + 24, sent_bytes - 24));
}

TEST(what_a_client_says_of_itself_needs_no_answer)
{
    ck_assert(is_alone_unanswered(SETTINGS, 1, 0));
    ck_assert(is_alone_unanswered(PING, 1, 8));
    ck_assert(is_alone_unanswered(WINDOW_UPDATE, 0, 4));
    ck_assert(is_alone_unanswered(RESET, 0, 4));
    ck_assert(is_alone_unanswered(PRIORITY, 0, 5));
    ck_assert(is_alone_unanswered(GO_AWAY, 0, 12));
    sent_bytes = 0;
    send_frame(SETTINGS, 1, 0);
    send_frame(WINDOW_UPDATE, 0, 4);
    ck_assert(http2_needs_no_answer(sent, sent_bytes));
    ck_assert(!http2_needs_no_answer(sent, sent_bytes - 1));
    send_frame(HEADERS, 5, 20);
    ck_assert(!http2_needs_no_answer(sent, sent_bytes));
}

TEST(what_it_asks_needs_one)
{
    ck_assert(!is_alone_unanswered(SETTINGS, 0, 6));
    ck_assert(!is_alone_unanswered(SETTINGS, 0, 0));
    ck_assert(!is_alone_unanswered(PING, 0, 8));
    ck_assert(!is_alone_unanswered(HEADERS, 5, 20));
    ck_assert(!is_alone_unanswered(DATA, 1, 0));
    ck_assert(!is_alone_unanswered(WINDOW_UPDATE, 0, 5)); /* it is no such frame, whatever it is */
    ck_assert(!http2_needs_no_answer("", 0));
}

TEST(a_client_may_take_its_request_back)
{
    ck_assert(is_alone_unanswered(RESET, 0, 4) && http2_gives_up(sent, sent_bytes));
    ck_assert(is_alone_unanswered(WINDOW_UPDATE, 0, 4) && !http2_gives_up(sent, sent_bytes));
    ck_assert(http2_may_give_up(35) && http2_may_give_up(42) && !http2_may_give_up(31));
}

TEST(over_tls_what_need_not_be_answered_is_of_few_lengths)
{
    unsigned count = 0;
    for (size_t size = 0; size < 1000; size++)
        count += http2_may_need_no_answer(size);
    ck_assert_uint_eq(count, 10);
    ck_assert(http2_may_need_no_answer(31));
    ck_assert(http2_may_need_no_answer(55));
    ck_assert(!http2_may_need_no_answer(43));
}

/* nginx: 3 settings and how much it takes; with that it has heard, or without. */
TEST(settings_have_room_for_an_answer_or_have_none)
{
    ck_assert(http2_is_settings(27 + 13 + 17, true));
    ck_assert(http2_is_settings(27 + 13 + 9 + 17, true));
    ck_assert(http2_is_settings(27 + 13 + 9 + 24, false));
    ck_assert(http2_is_settings(9 + 17, true));
    ck_assert(!http2_is_settings(8 + 17, true));
    ck_assert(!http2_is_settings(0, true));
    ck_assert(!http2_is_settings(27 + 13 + 10 + 17, true));
    ck_assert(!http2_is_settings(9 + 9 + 34 + 17, true));
    ck_assert(http2_may_be_settings(9 + 9 + 34 + 17));
}

/* As curl 7.88 sends it: preface, 3 settings and how much it takes, then the request. */
TEST(over_tls_a_request_is_what_comes_after_the_settings)
{
    size_t settings = 24 + 27 + 13 + 22;
    ck_assert(!http2_is_request(0, settings));
    ck_assert(http2_is_request(settings, 67));
    ck_assert(!http2_is_request(settings, 31));
    ck_assert(http2_is_request(0, settings + 67));  /* both at once */
    ck_assert(!http2_is_request(0, 24 + 22));       /* the preface by itself, */
    ck_assert(!http2_is_request(24 + 22, 27 + 22)); /* and its settings */
}

SUITE("http2", a_preface_is_known, headers_are_a_request, what_a_client_says_of_itself_needs_no_answer,
      what_it_asks_needs_one, a_client_may_take_its_request_back,
      over_tls_what_need_not_be_answered_is_of_few_lengths, settings_have_room_for_an_answer_or_have_none,
      over_tls_a_request_is_what_comes_after_the_settings)
