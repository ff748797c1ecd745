#include "base/text.h"

#include <stdbool.h>
#include <string.h>

static void add_bytes(struct text *text, const char *bytes, size_t length)
{
    size_t room = text->capacity - 1 - text->length;
    if (length > room)
        length = room;
    memcpy(text->buffer + text->length, bytes, length);
    text->length += length;
    text->buffer[text->length] = '\0';
}

static void add_unsigned(struct text *text, uint64_t value, unsigned base)
{
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    add_bytes(text, digits + at, sizeof digits - at);
}

static void add_signed(struct text *text, int64_t value)
{
    if (value < 0)
        add_bytes(text, "-", 1);
    add_unsigned(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10);
}

struct text text_begin(char *buffer, size_t capacity)
{
    buffer[0] = '\0';
    return (struct text){.buffer = buffer, .capacity = capacity, .length = 0};
}

void text_add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    text_add_list(text, format, arguments);
    va_end(arguments);
}

void text_add_list(struct text *text, const char *format, va_list arguments)
{
    for (const char *at = format; *at; at++) {
        if (*at != '%') {
            add_bytes(text, at, 1);
            continue;
        }
        at++;
        size_t most = SIZE_MAX;
        if (at[0] == '.' && at[1] == '*') {
            int precision = va_arg(arguments, int);
            most = precision < 0 ? SIZE_MAX : (size_t)precision;
            at += 2;
        }
        unsigned longs = 0;
        for (; *at == 'l' || *at == 'z'; at++)
            longs++;
        switch (*at) {
        case 's': {
            const char *string = va_arg(arguments, const char *);
            if (!string)
                string = "(none)";
            add_bytes(text, string, strnlen(string, most));
            break;
        }
        case 'c':
            add_bytes(text, &(char){(char)va_arg(arguments, int)}, 1);
            break;
        case 'd':
            add_signed(text, longs ? va_arg(arguments, long) : va_arg(arguments, int));
            break;
        case 'u':
        case 'x':
            add_unsigned(text, longs ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned),
                         *at == 'x' ? 16 : 10);
            break;
        case '%':
            add_bytes(text, "%", 1);
            break;
        default: /* not known: nothing sensible can follow */
            return;
        }
    }
}

struct duration_text duration_text(uint64_t ns)
{
    static const struct {
        uint64_t ns;
        const char *name;
    } units[] = {{3600000000000u, "h"}, {60000000000u, "m"}, {1000000000u, "s"},
                 {1000000u, "ms"},      {1000u, "us"},       {1u, "ns"}};
    struct duration_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    if (ns == 0) {
        text_add(&text, "0s");
        return result;
    }
    unsigned unit = 0;
    while (ns < units[unit].ns)
        unit++;
    /* 90s reads better than 1.5m; whole hours and minutes stay what they are. */
    while (unit < 2 && ns % units[unit].ns != 0)
        unit++;
    uint64_t whole = ns / units[unit].ns;
    unsigned digits = whole >= 100 ? 0 : whole >= 10 ? 1 : 2;
    uint64_t scale = digits == 2 ? 100 : digits == 1 ? 10 : 1;
    uint64_t rest = ns % units[unit].ns;
    uint64_t scaled =
        whole * scale + (uint64_t)(((__uint128_t)rest * scale + units[unit].ns / 2) / units[unit].ns);
    whole = scaled / scale;
    uint64_t fraction = scaled % scale;
    if (unit > 0 && fraction == 0 && rest && whole == units[unit - 1].ns / units[unit].ns) {
        unit--; /* rounded up to it */
        whole = 1;
    }
    text_add(&text, "%lu", whole);
    if (fraction) {
        if (digits == 2 && fraction % 10 == 0) {
            fraction /= 10;
            digits = 1;
        }
        text_add(&text, ".%s%lu", digits == 2 && fraction < 10 ? "0" : "", fraction);
    }
    text_add(&text, "%s", units[unit].name);
    return result;
}

static char *put_digits(char *at, uint64_t number, unsigned digits)
{
    for (unsigned i = digits; i > 0; i--, number /= 10)
        at[i - 1] = (char)('0' + number % 10);
    return at + digits;
}

struct time_text time_text(uint64_t realtime_ns)
{
    uint64_t ms = realtime_ns / 1000000, second = ms / 1000 % 86400, day = ms / 86400000;
    /* The Gregorian calendar in years that begin in March, so that the leap day is their last one. */
    uint64_t from_era = day + 719468, era = from_era / 146097, day_of_era = from_era % 146097;
    uint64_t year = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    uint64_t march = (5 * day_of_year + 2) / 153, month = march < 10 ? march + 3 : march - 9;
    const struct {
        uint64_t number;
        unsigned digits;
        char behind;
    } parts[] = {{year + era * 400 + (month <= 2), 4, '-'},
                 {month, 2, '-'},
                 {day_of_year - (153 * march + 2) / 5 + 1, 2, 'T'},
                 {second / 3600, 2, ':'},
                 {second / 60 % 60, 2, ':'},
                 {second % 60, 2, '.'},
                 {ms % 1000, 3, 'Z'}};
    struct time_text result;
    char *at = result.text;
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
        at = put_digits(at, parts[i].number, parts[i].digits);
        *at++ = parts[i].behind;
    }
    *at = '\0';
    return result;
}
