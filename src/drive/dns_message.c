#include "drive/dns_message.h"

#include <string.h>

#define HEADER_BYTES  12u
#define LABEL_MAX     63u
#define CLASS_IN      1u
#define RECURSION     0x01 /* is desired; in the first byte of the flags ... */
#define IS_ANSWER     0x80
#define IS_CUT        0x02 /* there was no room for all of it */
#define CODE          0x0f /* ... and what came of it in the second */
#define NO_ERROR      0u
#define NO_SUCH_NAME  3u
#define IS_POINTER(b) (((b)&0xc0) == 0xc0)

static bool skip_name(const uint8_t *message, size_t length, size_t *at);
static bool is_same(const uint8_t *a, const uint8_t *b, size_t length);
static unsigned two_bytes(const uint8_t *at);

bool dns_ask(struct dns_question *question, uint16_t id, const char *name, enum dns_type type)
{
    uint8_t *bytes = question->bytes;
    size_t at = HEADER_BYTES, length = strlen(name);
    if (length == 0 || length > 253)
        return false;
    memset(bytes, 0, HEADER_BYTES);
    bytes[0] = (uint8_t)(id >> 8);
    bytes[1] = (uint8_t)id;
    bytes[2] = RECURSION;
    bytes[5] = 1; /* one question */
    while (*name) {
        size_t label = strcspn(name, ".");
        if (label == 0 || label > LABEL_MAX)
            return false;
        bytes[at++] = (uint8_t)label;
        memcpy(bytes + at, name, label);
        at += label;
        name += label + (name[label] == '.');
    }
    const uint8_t end[] = {0, 0, (uint8_t)type, 0, CLASS_IN};
    memcpy(bytes + at, end, sizeof end);
    question->length = at + sizeof end;
    return true;
}

enum dns_verdict dns_read(const struct dns_question *question, const uint8_t *message, size_t length,
                          struct address *addresses, unsigned *count, unsigned most)
{
    size_t at = question->length;
    if (length < at || memcmp(message, question->bytes, 2) != 0 || !(message[2] & IS_ANSWER) ||
        two_bytes(message + 4) != 1 ||
        !is_same(message + HEADER_BYTES, question->bytes + HEADER_BYTES, at - HEADER_BYTES))
        return DNS_FOREIGN;
    unsigned code = message[3] & CODE;
    if (code != NO_ERROR)
        return code == NO_SUCH_NAME ? DNS_NO_SUCH_NAME : DNS_FAILED;
    unsigned type = question->bytes[at - 3], before = *count;
    for (unsigned left = two_bytes(message + 6); left && skip_name(message, length, &at); left--) {
        if (length - at < 10)
            break;
        const uint8_t *record = message + at;
        size_t size = two_bytes(record + 8);
        at += 10;
        if (length - at < size)
            break;
        bool is_address = two_bytes(record) == type && two_bytes(record + 2) == CLASS_IN &&
                          size == (type == DNS_A ? 4u : 16u);
        if (is_address && *count < most) {
            struct address *address = &addresses[(*count)++];
            *address = (struct address){{[10] = 0xff, [11] = 0xff}};
            memcpy(address->bytes + sizeof address->bytes - size, message + at, size);
        }
        at += size;
    }
    return message[2] & IS_CUT && *count == before ? DNS_FAILED : DNS_ANSWERED;
}

/* Where what follows the name begins; a pointer ends it. */
static bool skip_name(const uint8_t *message, size_t length, size_t *at)
{
    while (*at < length) {
        uint8_t label = message[*at];
        if (IS_POINTER(label)) {
            *at += 2;
            return *at <= length;
        }
        if (label > LABEL_MAX)
            return false;
        *at += 1u + label;
        if (label == 0)
            return true;
    }
    return false;
}

/* Servers may give the name back in letters of another case. What is no letter differs in more than that bit, or comes to
 * an answer to nearly the same question, of the same number, from the server that was asked. */
static bool is_same(const uint8_t *a, const uint8_t *b, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        bool is_letter = (b[i] | 0x20) >= 'a' && (b[i] | 0x20) <= 'z';
        if ((a[i] ^ b[i]) & (is_letter ? ~0x20 : ~0))
            return false;
    }
    return true;
}

static unsigned two_bytes(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}
