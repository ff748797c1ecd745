#include "policy/http2.h"

#include <string.h>

#define PREFACE       "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define PREFACE_BYTES (sizeof PREFACE - 1)

/* RFC 9113, 6. */
enum type { HEADERS = 1, PRIORITY = 2, RESET = 3, SETTINGS = 4, PING = 6, GO_AWAY = 7, WINDOW_UPDATE = 8 };
#define HEARD 1u /* the flag ACK */

struct frame {
    size_t length;
    uint8_t type, flags;
};

static bool is_over_tls(size_t size, size_t frames);
static bool has_frame(const void *bytes, size_t size, enum type type);
static bool take_frame(const uint8_t **bytes, size_t *size, struct frame *frame);

bool http2_is_preface(const void *bytes, size_t size)
{
    return size >= PREFACE_BYTES && memcmp(bytes, PREFACE, PREFACE_BYTES) == 0;
}

bool http2_has_request(const void *bytes, size_t size)
{
    size_t preface = http2_is_preface(bytes, size) ? PREFACE_BYTES : 0;
    return has_frame((const uint8_t *)bytes + preface, size - preface, HEADERS);
}

bool http2_needs_no_answer(const void *bytes, size_t size)
{
    const uint8_t *rest = bytes;
    struct frame frame;
    do {
        if (!take_frame(&rest, &size, &frame))
            return false;
        bool is_heard = frame.flags == HEARD;
        bool is_one = (frame.type == SETTINGS && is_heard && frame.length == 0) ||
                      (frame.type == PING && is_heard && frame.length == 8) ||
                      ((frame.type == WINDOW_UPDATE || frame.type == RESET) && frame.length == 4) ||
                      (frame.type == PRIORITY && frame.length == 5) ||
                      (frame.type == GO_AWAY && frame.length >= 8);
        if (!is_one)
            return false;
    } while (size);
    return true;
}

bool http2_gives_up(const void *bytes, size_t size)
{
    return has_frame(bytes, size, RESET);
}

bool http2_may_give_up(size_t size)
{
    return is_over_tls(size, 13);
}

bool http2_is_about_connection(uint8_t type)
{
    return type == SETTINGS || type == PING || type == WINDOW_UPDATE;
}

bool http2_may_need_no_answer(size_t size)
{
    static const size_t frames[] = {9, 13, 17, 9 + 13, 13 + 13};
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
        if (is_over_tls(size, frames[i]))
            return true;
    return false;
}

static bool is_over_tls(size_t size, size_t frames)
{
    return size == frames + 22 || size == frames + 29;
}

/* No more than 8 settings are sent by anyone. The preface may be in a record of its own. */
bool http2_is_request(size_t before, size_t sent)
{
    size_t least = 24 + 9 + 22, most = 24 + (9 + 8 * 6) + 13 + (before ? 2 : 1) * 29;
    return before < least ? before + sent > most : !http2_may_need_no_answer(sent);
}

/* Its settings, 8 at most, with how much it takes, and that it has heard the client's, in one record. RFC 8446 adds 17 bytes,
 * RFC 5288 24. */
bool http2_may_be_settings(size_t record_bytes)
{
    return record_bytes >= 9 + 16 && record_bytes <= (9 + 8 * 6) + 13 + 9 + 24;
}

/* An answer says at least what it is and when it was made (RFC 9110, 6.6.1): 9 + 1 + 24 bytes. No settings are shorter than 9, and
 * before it the server says that it has heard the client's: 9. */
bool http2_is_settings(size_t record_bytes, bool is_sealed)
{
    size_t size = record_bytes - (is_sealed ? 17 : 24), least_with_answer = 9 + 9 + 9 + 1 + 24;
    static const size_t parts[] = {9, 9 + 13, 9 + 9, 9 + 13 + 9};
    for (size_t i = 0; i < sizeof parts / sizeof *parts && size < least_with_answer; i++)
        if (size >= parts[i] && (size - parts[i]) % 6 == 0)
            return true;
    return false;
}

/* RFC 7905 adds 16 bytes. */
bool http2_is_settings_heard(size_t record_bytes, bool is_sealed)
{
    return is_sealed ? record_bytes == 9 + 17 : record_bytes == 9 + 24 || record_bytes == 9 + 16;
}

static bool has_frame(const void *bytes, size_t size, enum type type)
{
    const uint8_t *rest = bytes;
    struct frame frame;
    while (take_frame(&rest, &size, &frame))
        if (frame.type == type)
            return true;
    return false;
}

/* The next frame, if it is there as a whole. */
static bool take_frame(const uint8_t **bytes, size_t *size, struct frame *frame)
{
    const uint8_t *header = *bytes;
    if (*size < HTTP2_FRAME_HEADER_BYTES)
        return false;
    *frame =
        (struct frame){(size_t)header[0] << 16 | (size_t)header[1] << 8 | header[2], header[3], header[4]};
    if (frame->length > *size - HTTP2_FRAME_HEADER_BYTES)
        return false;
    *bytes += HTTP2_FRAME_HEADER_BYTES + frame->length;
    *size -= HTTP2_FRAME_HEADER_BYTES + frame->length;
    return true;
}
