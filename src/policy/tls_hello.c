#include "policy/tls_hello.h"

#include <stdint.h>

#define HANDSHAKE    TLS_HELLO_BEGINS
#define CLIENT_HELLO 1
#define SERVER_HELLO 2
#define RANDOM_BYTES 32

enum extension { PROTOCOLS = 16, SESSIONS = 41, VERSIONS = 43 };

struct reader {
    const uint8_t *bytes;
    size_t size;
};

static bool has_http2(struct reader names);
static size_t first_ticket(struct reader tickets);
static size_t take_number(struct reader *from, size_t width);
static struct reader take_bytes(struct reader *from, size_t size);
static enum extension take_extension(struct reader *from, struct reader *content);

/* RFC 8446, 4.1.2: version 2 | random 32 | session 1+ | ciphers 2+ | compressions 1+ | extensions 2+. */
struct tls_client_hello tls_client_hello(const void *bytes, size_t size)
{
    struct tls_client_hello found = {.is_one = false};
    struct reader hello = {bytes, size};
    if (take_number(&hello, 1) != HANDSHAKE || take_number(&hello, 1) != 3)
        return found;
    take_number(&hello, 1 + 2); /* may go on in another record, after what is looked for */
    found.is_one = take_number(&hello, 1) == CLIENT_HELLO;
    if (!found.is_one)
        return found;
    take_bytes(&hello, 3 + 2 + RANDOM_BYTES);
    take_bytes(&hello, take_number(&hello, 1));
    take_bytes(&hello, take_number(&hello, 2));
    take_bytes(&hello, take_number(&hello, 1));
    struct reader extensions = take_bytes(&hello, take_number(&hello, 2));
    while (extensions.size) {
        struct reader content;
        enum extension extension = take_extension(&extensions, &content);
        if (extension == PROTOCOLS)
            found.offers_http2 = has_http2(content);
        else if (extension == SESSIONS)
            found.session_bytes = first_ticket(content);
    }
    return found;
}

/* RFC 5246, 7.4.1.3: version 2 | random 32 | session 1+ | cipher 2 | compression 1 | extensions 2+. */
struct tls_server_hello tls_server_hello(const void *bytes, size_t size)
{
    struct tls_server_hello found = {.is_old = false};
    struct reader hello = {bytes, size};
    if (take_number(&hello, 1) != SERVER_HELLO)
        return found;
    size_t length = take_number(&hello, 3);
    if (length > hello.size)
        return found;
    found.is_old = true;
    hello.size = length;
    take_bytes(&hello, 2 + RANDOM_BYTES);
    take_bytes(&hello, take_number(&hello, 1));
    take_bytes(&hello, 2 + 1);
    struct reader extensions = take_bytes(&hello, take_number(&hello, 2));
    while (extensions.size) {
        struct reader content;
        enum extension extension = take_extension(&extensions, &content);
        if (extension == PROTOCOLS)
            found.agrees_on_http2 = has_http2(content);
        else if (extension == VERSIONS) /* RFC 8446, 4.2.1: TLS 1.3 says it there */
            found.is_old = false;
    }
    return found;
}

/* RFC 7301: 2+, each 1+. */
static bool has_http2(struct reader names)
{
    take_number(&names, 2);
    while (names.size) {
        struct reader name = take_bytes(&names, take_number(&names, 1));
        if (name.size == 2 && name.bytes[0] == 'h' && name.bytes[1] == '2')
            return true;
    }
    return false;
}

/* 2+, each 2+ and an age of 4. */
static size_t first_ticket(struct reader tickets)
{
    take_number(&tickets, 2);
    return take_number(&tickets, 2);
}

/* Type 2 | content 2+. */
static enum extension take_extension(struct reader *from, struct reader *content)
{
    enum extension extension = (enum extension)take_number(from, 2);
    *content = take_bytes(from, take_number(from, 2));
    return extension;
}

/* A number of so many bytes; 0 where there are fewer, and then nothing is left. */
static size_t take_number(struct reader *from, size_t width)
{
    struct reader taken = take_bytes(from, width);
    size_t number = 0;
    for (size_t i = 0; taken.size == width && i < width; i++)
        number = number << 8 | taken.bytes[i];
    return number;
}

/* So many bytes, or all that are there. */
static struct reader take_bytes(struct reader *from, size_t size)
{
    struct reader taken = {from->bytes, size < from->size ? size : from->size};
    from->bytes += taken.size;
    from->size -= taken.size;
    return taken;
}
