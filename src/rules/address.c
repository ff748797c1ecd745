#include "rules/address.h"

#include <string.h>

#include "base/text.h"

static const char *v4_parse(const char *text, uint8_t bytes[4]);
static bool v6_parse(const char *text, const char *end, uint8_t bytes[16]);
static bool group_parse(const char **text, const char *end, unsigned *group);
static void v6_print(struct text *text, const struct address *address);
static bool length_parse(const char *text, unsigned maximum, unsigned *length);

bool address_parse(const char *text, struct address *address)
{
    uint8_t v4[4];
    const char *end = v4_parse(text, v4);
    if (end && *end == '\0') {
        *address = (struct address){.bytes = {[10] = 0xff, [11] = 0xff}};
        memcpy(address->bytes + 12, v4, 4);
        return true;
    }
    end = text + strlen(text);
    if (*text == '[' && end[-1] == ']')
        text++, end--;
    return v6_parse(text, end, address->bytes);
}

bool prefix_parse(const char *text, struct prefix *prefix)
{
    struct prefix loose;
    if (!prefix_parse_loosely(text, &loose))
        return false;
    char address_part[50];
    struct text part = text_begin(address_part, sizeof address_part);
    text_add(&part, "%.*s", (int)strcspn(text, "/"), text);
    struct address written;
    if (!address_parse(address_part, &written) || !address_equal(&written, &loose.address))
        return false;
    *prefix = loose;
    return true;
}

bool prefix_parse_loosely(const char *text, struct prefix *prefix)
{
    char address_part[50];
    size_t address_length = strcspn(text, "/");
    if (address_length >= sizeof address_part)
        return false;
    memcpy(address_part, text, address_length);
    address_part[address_length] = '\0';
    if (!address_parse(address_part, &prefix->address))
        return false;
    unsigned length = 128;
    if (text[address_length] == '/') {
        /* ::ffff:10.0.0.0/104 counts all 128 bits, 10.0.0.0/8 the last 32. */
        bool is_v6_text = strchr(address_part, ':') != NULL;
        if (!length_parse(text + address_length + 1, is_v6_text ? 128 : 32, &length))
            return false;
        length += is_v6_text ? 0 : ADDRESS_V4_BITS;
    }
    prefix->length_bits = (uint8_t)length;
    for (unsigned bit = length; bit < 128; bit++)
        prefix->address.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
    return true;
}

bool prefix_contains(const struct prefix *prefix, const struct address *address)
{
    if (prefix->length_bits < ADDRESS_V4_BITS && address_is_v4(address))
        return false;
    unsigned whole = prefix->length_bits / 8, rest = prefix->length_bits % 8;
    if (memcmp(prefix->address.bytes, address->bytes, whole) != 0)
        return false;
    return rest == 0 || (prefix->address.bytes[whole] ^ address->bytes[whole]) >> (8 - rest) == 0;
}

bool address_equal(const struct address *a, const struct address *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool address_is_v4(const struct address *address)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(address->bytes, mapped, sizeof mapped) == 0;
}

struct address_text address_text(const struct address *address)
{
    struct address_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    const uint8_t *v4 = address->bytes + 12;
    if (address_is_v4(address))
        text_add(&text, "%u.%u.%u.%u", v4[0], v4[1], v4[2], v4[3]);
    else
        v6_print(&text, address);
    return result;
}

struct prefix_text prefix_text(const struct prefix *prefix)
{
    struct prefix_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    text_add(&text, "%s", address_text(&prefix->address).text);
    unsigned skipped =
        address_is_v4(&prefix->address) && prefix->length_bits >= ADDRESS_V4_BITS ? ADDRESS_V4_BITS : 0;
    if (prefix->length_bits < 128)
        text_add(&text, "/%u", prefix->length_bits - skipped);
    return result;
}

/* Four decimal numbers without leading zeros (some read those as octal). Where it ends, or NULL. */
static const char *v4_parse(const char *text, uint8_t bytes[4])
{
    for (unsigned i = 0; i < 4; i++) {
        if (i > 0 && *text++ != '.')
            return NULL;
        unsigned value = 0;
        const char *begin = text;
        for (; *text >= '0' && *text <= '9' && value <= 255; text++)
            value = value * 10 + (unsigned)(*text - '0');
        if (text == begin || value > 255 || (*begin == '0' && text - begin > 1))
            return NULL;
        bytes[i] = (uint8_t)value;
    }
    return text;
}

static bool v6_parse(const char *text, const char *end, uint8_t bytes[16])
{
    uint8_t found[16];
    unsigned count = 0; /* bytes found */
    int gap = -1;       /* how many of them stand before the :: */
    if (end - text >= 2 && text[0] == ':' && text[1] == ':') {
        gap = 0;
        text += 2;
    }
    while (text < end) {
        if (count <= 12 && v4_parse(text, found + count) == end) {
            count += 4;
            break;
        }
        unsigned group;
        if (count == 16 || !group_parse(&text, end, &group))
            return false;
        found[count++] = (uint8_t)(group >> 8);
        found[count++] = (uint8_t)group;
        if (text == end)
            break;
        if (*text++ != ':' || text == end)
            return false;
        if (*text == ':') {
            if (gap >= 0)
                return false;
            gap = (int)count;
            text++;
        }
    }
    if (gap < 0 ? count != 16 : count > 14)
        return false;
    unsigned before = gap < 0 ? 16 : (unsigned)gap;
    memset(bytes, 0, 16);
    memcpy(bytes, found, before);
    memcpy(bytes + 16 - (count - before), found + before, count - before);
    return true;
}

/* One to four hexadecimal digits. */
static bool group_parse(const char **text, const char *end, unsigned *group)
{
    const char *begin = *text;
    for (*group = 0; *text < end && *text - begin < 4; ++*text) {
        char c = **text;
        if (c >= '0' && c <= '9')
            *group = *group << 4 | (unsigned)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            *group = *group << 4 | (unsigned)((c | 0x20) - 'a' + 10);
        else
            break;
    }
    return *text > begin;
}

static bool length_parse(const char *text, unsigned maximum, unsigned *length)
{
    if (*text == '\0' || (*text == '0' && text[1]))
        return false;
    for (*length = 0; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        *length = *length * 10 + (unsigned)(*text - '0');
        if (*length > maximum)
            return false;
    }
    return true;
}

/* As RFC 5952 wants it: lower case, no leading zeros, the longest run of two or more zero groups as "::". */
static void v6_print(struct text *text, const struct address *address)
{
    unsigned groups[8], gap = 8, gap_length = 1;
    for (unsigned i = 0; i < 8; i++)
        groups[i] = (unsigned)address->bytes[2 * i] << 8 | address->bytes[2 * i + 1];
    for (unsigned i = 0; i < 8; i++) {
        unsigned run = 0;
        while (i + run < 8 && groups[i + run] == 0)
            run++;
        if (run > gap_length) {
            gap = i;
            gap_length = run;
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        if (i == gap) {
            text_add(text, "::");
            i += gap_length - 1;
            continue;
        }
        text_add(text, i == 0 || i == gap + gap_length ? "%x" : ":%x", groups[i]);
    }
}
