#include "policy/tls_flight.h"

#include <stdint.h>

/* RFC 8446, 5.1: type 1 byte | version 2 | length 2. */
#define HEADER_BYTES 5
enum record_type { CHANGE_CIPHER = TLS_FLIGHT_BEGINS, HANDSHAKE = TLS_HELLO_BEGINS, APPLICATION_DATA = 23 };
#define CLIENT_HELLO      1
#define RANDOM_BYTES      32
#define EXTENSION_OF_ALPN 16

struct record {
    uint8_t type;
    size_t length;
    const uint8_t *bytes;
};

struct reader {
    const uint8_t *bytes;
    size_t size;
};

static bool take_record(const uint8_t **bytes, size_t *size, struct record *record);
static size_t take_number(struct reader *from, size_t width);
static struct reader take_bytes(struct reader *from, size_t size);
static bool is_hello(const struct record *record);
static bool is_as_long_as_finished(size_t length);

bool tls_flight_is_last(const void *bytes, size_t size)
{
    const uint8_t *rest = bytes;
    struct record record;
    if (!take_record(&rest, &size, &record) || record.type != CHANGE_CIPHER || record.length != 1 ||
        record.bytes[0] != 1)
        return false;
    if (!take_record(&rest, &size, &record))
        return false;
    /* Up to TLS 1.2: its Finished, encrypted. What exchanges keys is sent before the change of cipher, so nothing was. */
    if (record.type == HANDSHAKE)
        return size == 0 && !is_hello(&record);
    /* TLS 1.3 changes no cipher, and pretends to (RFC 8446, D.4). A certificate may come before the Finished. */
    while (record.type == APPLICATION_DATA && size > 0)
        if (!take_record(&rest, &size, &record))
            return false;
    return record.type == APPLICATION_DATA && is_as_long_as_finished(record.length);
}

/* RFC 8446, 4.1.2: version 2 | random 32 | session 1+ | ciphers 2+ | compressions 1+ | extensions 2+, each type 2 | data 2+; a list
 * of names in it: 2+, each 1+. */
bool tls_hello_offers_http2(const void *bytes, size_t size)
{
    struct reader hello = {bytes, size};
    if (take_number(&hello, 1) != HANDSHAKE || take_number(&hello, 1) != 3)
        return false;
    take_number(&hello, 1 + 2); /* may go on in another record, after what is looked for */
    if (take_number(&hello, 1) != CLIENT_HELLO)
        return false;
    take_bytes(&hello, 3 + 2 + RANDOM_BYTES);
    take_bytes(&hello, take_number(&hello, 1));
    take_bytes(&hello, take_number(&hello, 2));
    take_bytes(&hello, take_number(&hello, 1));
    struct reader extensions = take_bytes(&hello, take_number(&hello, 2));
    while (extensions.size) {
        bool is_it = take_number(&extensions, 2) == EXTENSION_OF_ALPN;
        struct reader names = take_bytes(&extensions, take_number(&extensions, 2));
        take_number(&names, 2);
        while (is_it && names.size) {
            struct reader name = take_bytes(&names, take_number(&names, 1));
            if (name.size == 2 && name.bytes[0] == 'h' && name.bytes[1] == '2')
                return true;
        }
    }
    return false;
}

bool tls_may_be_http2_control(size_t size)
{
    static const size_t frames[] = {9, 13, 17, 9 + 13, 13 + 13};
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
        if (size == frames[i] + 22 || size == frames[i] + 29)
            return true;
    return false;
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

/* The next record, if it is there as a whole. */
static bool take_record(const uint8_t **bytes, size_t *size, struct record *record)
{
    const uint8_t *header = *bytes;
    if (*size < HEADER_BYTES || header[1] != 3)
        return false;
    *record = (struct record){header[0], (size_t)header[3] << 8 | header[4], header + HEADER_BYTES};
    if (record->length > *size - HEADER_BYTES)
        return false;
    *bytes += HEADER_BYTES + record->length;
    *size -= HEADER_BYTES + record->length;
    return true;
}

/* The server has asked for another one (RFC 8446, 4.1.4): type 1 byte | length 3. */
static bool is_hello(const struct record *record)
{
    const uint8_t *bytes = record->bytes;
    return record->length > 4 && bytes[0] == 1 &&
           ((size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3]) == record->length - 4;
}

/* A header of 4 bytes, the hash, a byte for the type, and the tag of the cipher: 16 bytes, or 8 with AES-CCM-8 (RFC 8446, 4.4.4
 * and 5.2). */
static bool is_as_long_as_finished(size_t length)
{
    return length == 4 + 32 + 1 + 16 || length == 4 + 48 + 1 + 16 || length == 4 + 32 + 1 + 8;
}
