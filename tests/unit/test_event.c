#include <errno.h>
#include <string.h>

#include "report/event.h"
#include "suite.h"

#define MS UINT64_C(1000000)

static struct event about(enum event_kind kind)
{
    return (struct event){.kind = (uint16_t)kind, .target = "a.test:80"};
}

TEST(an_attempt_says_which_of_several_addresses_it_was_made_to)
{
    struct event event = about(EVENT_SIBLING);
    event.error = ECONNREFUSED;
    event.attempt = 1;
    event.attempts = 6;
    ck_assert_str_eq(event_text(&event).text,
                     "a.test:80: connect refused (attempt 1 of 6), the next address at once");
    ck_assert_str_eq(event_address(&event).text, "");
    static const uint8_t v4[16] = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 7};
    for (int i = 0; i < 16; i++)
        event.address[i] = v4[i];
    ck_assert_str_eq(event_address(&event).text, "10.0.0.7");
    ck_assert_str_eq(event_text(&event).text,
                     "a.test:80: connect to 10.0.0.7 refused (attempt 1 of 6), the next address at once");
    event.kind = EVENT_RETRY;
    event.delay_ns = 43 * MS;
    ck_assert_str_eq(event_text(&event).text,
                     "a.test:80: connect to 10.0.0.7 refused (attempt 1 of 6), again in 43ms");
}

TEST(a_limit_says_how_long_was_waited_and_how_many_were_left_out)
{
    struct event event = about(EVENT_LIMIT_CONNECTIONS);
    event.error = ECONNREFUSED;
    event.count = 1;
    ck_assert_str_eq(event_text(&event).text,
                     "a.test:80: too many connections at once; the call gets ECONNREFUSED");
    event.count = 4;
    event.duration_ns = 50 * MS;
    ck_assert_str_eq(event_text(&event).text,
                     "a.test:80: too many connections at once, still after 50ms; the "
                     "call gets ECONNREFUSED, as did 3 before it");
    event.kind = EVENT_LIMIT_WAIT;
    ck_assert_str_eq(event_text(&event).text, "a.test:80: waited 50ms for its turn, as did 3 before it");
}

TEST(a_limit_says_what_it_is_and_whose)
{
    struct event event = about(EVENT_LIMIT_CONNECTIONS);
    event.error = ECONNREFUSED;
    event.count = 1;
    event.event_limit = 5;
    ck_assert_str_eq(event_text(&event).text, "a.test:80: too many connections at once (connections: 5); the "
                                              "call gets ECONNREFUSED");
    strcpy(event.event_rule, "payments");
    event.duration_ns = 50 * MS;
    ck_assert_str_eq(event_text(&event).text, "a.test:80: too many connections at once (connections: 5, rule "
                                              "payments), still after 50ms; the call gets ECONNREFUSED");
    event.kind = EVENT_LIMIT_WAIT;
    ck_assert_str_eq(event_text(&event).text,
                     "a.test:80: waited 50ms for its turn (connections: 5, rule payments)");
    event.flags = EVENT_OF_RATE;
    ck_assert_str_eq(event_text(&event).text,
                     "a.test:80: waited 50ms for its turn (rate: 5/s, rule payments)");
    event.kind = EVENT_LIMIT_RATE;
    event.flags = 0;
    event.duration_ns = 0;
    ck_assert_str_eq(event_text(&event).text, "a.test:80: too many connects in a second (rate: 5/s, rule "
                                              "payments); the call gets ECONNREFUSED");
}

TEST(what_is_not_enforced_says_so)
{
    struct event event = about(EVENT_LIMIT_RATE);
    event.error = EHOSTUNREACH;
    event.flags = EVENT_SHADOW;
    ck_assert_str_eq(event_text(&event).text,
                     "a.test:80: (not enforced) too many connects in a second; the call gets EHOSTUNREACH");
}

TEST(a_declared_function_speaks_of_calls)
{
    struct event event = about(EVENT_FUNCTION_FAILED);
    event.attempt = event.attempts = 3;
    event.duration_ns = 90 * MS;
    event.count = GIVEN_UP_RETRIES;
    event.flags = EVENT_DEFAULT;
    ck_assert_str_eq(event_text(&event).text,
                     "a.test:80: failed (attempt 3 of 3), given up after 90ms: no retries are "
                     "left; the call gets the declared default");
    ck_assert_str_eq(event_reason(&event), "retries");
    event.kind = EVENT_FUNCTION_LATE;
    ck_assert_str_eq(event_text(&event).text, "a.test:80: succeeded at attempt 3 of 3, after 90ms");
    event.kind = EVENT_LIMIT_CONNECTIONS;
    event.duration_ns = event.count = 0;
    ck_assert_str_eq(event_text(&event).text,
                     "a.test:80: too many calls at once; the call gets the declared default");
    event.kind = EVENT_FUNCTION_UNBOUND;
    event.count = UNBOUND_NO_MEMORY;
    ck_assert_str_eq(
        event_text(&event).text,
        "a.test:80: is not under its policy: this process may not have executable memory of its own");
    ck_assert_str_eq(event_reason(&event), "no_memory");
}

TEST(a_rejected_call_says_what_it_is_that_others_wait_for)
{
    struct event event = about(EVENT_REJECTED);
    event.error = ECONNREFUSED;
    event.count = 1;
    event.delay_ns = 2000 * MS;
    ck_assert_str_eq(event_text(&event).text,
                     "a.test:80: circuit open, next probe in 2s; the call gets ECONNREFUSED");
    event.flags = EVENT_PROBING;
    ck_assert_str_eq(event_text(&event).text,
                     "a.test:80: circuit half-open, a probe is under way; the call gets ECONNREFUSED");
}

SUITE("event", a_declared_function_speaks_of_calls, a_rejected_call_says_what_it_is_that_others_wait_for,
      an_attempt_says_which_of_several_addresses_it_was_made_to,
      a_limit_says_how_long_was_waited_and_how_many_were_left_out, a_limit_says_what_it_is_and_whose,
      what_is_not_enforced_says_so)
