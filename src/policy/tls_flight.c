#include "policy/tls_flight.h"

#include <stdint.h>

/* RFC 8446, 5.1: type 1 byte | version 2 | length 2. */
#define HEADER_BYTES 5
enum record_type { CHANGE_CIPHER = TLS_FLIGHT_BEGINS, HANDSHAKE = 22, APPLICATION_DATA = 23 };

struct record {
    uint8_t type;
    size_t length;
    const uint8_t *bytes;
};

static bool take_record(const uint8_t **bytes, size_t *size, struct record *record);
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

size_t tls_flight_before_requests(const void *bytes, size_t size)
{
    const uint8_t *rest = bytes;
    struct record record;
    while (take_record(&rest, &size, &record))
        if (record.type == APPLICATION_DATA && is_as_long_as_finished(record.length))
            return (size_t)(rest - (const uint8_t *)bytes);
    return 0;
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
