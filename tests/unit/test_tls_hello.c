#include "policy/tls_hello.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

static uint8_t hello[2000];
static size_t hello_bytes;

static void put(const void *bytes, size_t size)
{
    memcpy(hello + hello_bytes, bytes, size);
    hello_bytes += size;
}

static void put_number(size_t number)
{
    put((uint8_t[]){(uint8_t)(number >> 8), (uint8_t)number}, 2);
}

/* What a hello has of extensions: something else, these protocols, each with its length before it, and a ticket as long as
 * that. */
static void put_extensions(const char *protocols, size_t size, size_t ticket)
{
    size_t start = hello_bytes;
    put_number(0);
    put("\0\0\0\6\0\4\0\0\1x", 10);
    if (protocols) {
        put_number(16);
        put_number(size + 2);
        put_number(size);
        put(protocols, size);
    }
    if (ticket) {
        put_number(41);
        put_number(2 + 2 + ticket + 4 + 2 + 1 + 32);
        put_number(2 + ticket + 4);
        put_number(ticket);
        memset(hello + hello_bytes, 0xaa, ticket + 4);
        hello_bytes += ticket + 4;
        put_number(1 + 32);
        memset(hello + hello_bytes, 32, 1 + 32);
        hello_bytes += 1 + 32;
    }
    size_t all = hello_bytes - start - 2;
    hello[start] = (uint8_t)(all >> 8);
    hello[start + 1] = (uint8_t)all;
}

static void say_hello(const char *protocols, size_t size, size_t ticket)
{
    hello_bytes = 0;
    put("\26\3\1\0\0\1\0\0\0\3\3", 11);
    memset(hello + hello_bytes, 0xaa, 32);
    hello_bytes += 32;
    put("\2xx\0\4\x13\1\x13\2\1\0", 11); /* session, ciphers, compressions */
    put_extensions(protocols, size, ticket);
}

static void server_says_hello(const char *protocols, size_t size)
{
    hello_bytes = 0;
    put("\2\0\0\0\3\3", 6);
    memset(hello + hello_bytes, 0xaa, 32);
    hello_bytes += 32;
    put("\2xx\x13\1\0", 6);
    put_extensions(protocols, size, 0);
    hello[3] = (uint8_t)(hello_bytes - 4);
}

static bool offers_http2(void)
{
    return tls_client_hello(hello, hello_bytes).offers_http2;
}

TEST(a_hello_offers_http2_or_does_not)
{
    say_hello("\2h2\10http/1.1", 12, 0);
    ck_assert(offers_http2());
    say_hello("\10http/1.1\2h2", 12, 0);
    ck_assert(offers_http2());
    say_hello("\10http/1.1", 9, 0);
    ck_assert(!offers_http2() && tls_client_hello(hello, hello_bytes).is_one);
    say_hello("\3h2c\2h3", 7, 0);
    ck_assert(!offers_http2());
    say_hello(NULL, 0, 0);
    ck_assert(!offers_http2() && tls_client_hello(hello, hello_bytes).is_one);
}

TEST(a_hello_shows_a_ticket_or_does_not)
{
    say_hello("\2h2", 3, 208);
    ck_assert_uint_eq(tls_client_hello(hello, hello_bytes).session_bytes, 208);
    say_hello(NULL, 0, 1);
    ck_assert_uint_eq(tls_client_hello(hello, hello_bytes).session_bytes, 1);
    say_hello("\2h2", 3, 0);
    ck_assert_uint_eq(tls_client_hello(hello, hello_bytes).session_bytes, 0);
}

TEST(no_other_bytes_are_such_a_hello)
{
    say_hello("\2h2", 3, 0);
    for (size_t size = 0; size < hello_bytes; size++)
        ck_assert(!tls_client_hello(hello, size).offers_http2);
    static const unsigned each[] = {0, 1, 5};
    for (unsigned i = 0; i < 3; i++) {
        hello[each[i]] ^= 1;
        ck_assert(!tls_client_hello(hello, hello_bytes).is_one && !offers_http2());
        hello[each[i]] ^= 1;
    }
    ck_assert(offers_http2());
}

TEST(a_server_agrees_on_http2_or_does_not)
{
    server_says_hello("\2h2", 3);
    ck_assert(tls_server_hello(hello, hello_bytes).agrees_on_http2);
    for (size_t size = 0; size < hello_bytes; size++)
        ck_assert(!tls_server_hello(hello, size).agrees_on_http2);
    hello[0] = 4;
    ck_assert(!tls_server_hello(hello, hello_bytes).agrees_on_http2);
    server_says_hello("\10http/1.1", 9);
    ck_assert(!tls_server_hello(hello, hello_bytes).agrees_on_http2);
    server_says_hello(NULL, 0);
    ck_assert(!tls_server_hello(hello, hello_bytes).agrees_on_http2);
}

TEST(a_server_tells_its_version)
{
    server_says_hello("\2h2", 3);
    ck_assert(tls_server_hello(hello, hello_bytes).is_old);
    ck_assert(!tls_server_hello(hello, hello_bytes - 1).is_old);
    hello[6 + 32 + 6 + 3] = 43; /* the other extension */
    ck_assert(!tls_server_hello(hello, hello_bytes).is_old);
}

TEST(whatever_lengths_it_has_it_is_read_within_its_bounds)
{
    uint32_t state = 1;
    for (unsigned round = 0; round < 40000; round++) {
        if (round % 2)
            say_hello("\2h2\10http/1.1", 12, 32);
        else
            server_says_hello("\2h2\10http/1.1", 12);
        for (unsigned i = 0; i < 4; i++) {
            state = state * 1664525 + 1013904223;
            hello[5 + (state >> 8) % (hello_bytes - 5)] = (uint8_t)(state >> 24);
        }
        uint8_t *exact = malloc(hello_bytes); /* for the sanitizer */
        memcpy(exact, hello, hello_bytes);
        tls_client_hello(exact, hello_bytes);
        tls_server_hello(exact, hello_bytes);
        free(exact);
    }
}

SUITE("tls_hello", a_hello_offers_http2_or_does_not, a_hello_shows_a_ticket_or_does_not,
      no_other_bytes_are_such_a_hello, a_server_agrees_on_http2_or_does_not, a_server_tells_its_version,
      whatever_lengths_it_has_it_is_read_within_its_bounds)
