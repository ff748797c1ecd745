#include "rules/units.h"

#include <stddef.h>
#include <string.h>

#include "policy/random.h"

/* "12.5ms": all digits as one whole number (125), that divided by 10 for each decimal (10), and the rest ("ms"). */
struct number {
    uint64_t digits, divisor;
    const char *unit;
};

static bool number_parse(const char *text, struct number *number);
static bool number_scale(const struct number *number, uint64_t unit, uint64_t maximum, uint64_t *result);

bool duration_parse(const char *text, uint64_t *ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {
        {"ns", 1},          {"us", 1000},          {"ms", 1000000},        {"s", 1000000000},
        {"m", 60000000000}, {"h", 3600000000000u}, {"d", 86400000000000u},
    };
    struct number number;
    if (!number_parse(text, &number))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(number.unit, units[i].name) == 0)
            return number_scale(&number, units[i].ns, UINT64_MAX - 1, ns);
    return false;
}

bool ratio_parse(const char *text, uint32_t *ratio_ppm)
{
    struct number number;
    uint64_t value;
    if (!number_parse(text, &number) || strcmp(number.unit, "%") != 0 ||
        !number_scale(&number, PPM_ONE / 100, PPM_ONE, &value))
        return false;
    *ratio_ppm = (uint32_t)value;
    return true;
}

bool rate_parse(const char *text, uint32_t *per_s)
{
    struct number number;
    uint64_t value;
    if (!number_parse(text, &number))
        return false;
    if (strcmp(number.unit, "/m") == 0)
        number.divisor *= 60;
    else if (strcmp(number.unit, "/h") == 0)
        number.divisor *= 3600;
    else if (strcmp(number.unit, "/s") != 0)
        return false;
    if (!number_scale(&number, 1, UINT32_MAX, &value))
        return false;
    *per_s = (uint32_t)value;
    return true;
}

bool bytes_parse(const char *text, uint64_t *bytes)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {{"B", 1}, {"kB", 1000}, {"MB", 1000000}, {"GB", 1000000000}};
    struct number number;
    if (!number_parse(text, &number))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(number.unit, units[i].name) == 0)
            return number_scale(&number, units[i].bytes, UINT64_MAX, bytes);
    return false;
}

bool factor_parse(const char *text, uint32_t *factor_ppm)
{
    struct number number;
    uint64_t value;
    if (!number_parse(text, &number) || *number.unit || !number_scale(&number, PPM_ONE, UINT32_MAX, &value))
        return false;
    *factor_ppm = (uint32_t)value;
    return true;
}

bool count_parse(const char *text, uint32_t *count)
{
    struct number number;
    if (!number_parse(text, &number) || *number.unit || number.divisor != 1 || number.digits > UINT32_MAX)
        return false;
    *count = (uint32_t)number.digits;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits, and decimals after a point; no sign, no space, no exponent, and no leading zero (is 010 ten or eight?).
 * At most 15 digits: further ones are a slip of the hand, and products stay far from overflow. */
static bool number_parse(const char *text, struct number *number)
{
    if (!is_digit(text[0]) || (text[0] == '0' && is_digit(text[1])))
        return false;
    *number = (struct number){.digits = 0, .divisor = 1};
    unsigned length = 0;
    for (; is_digit(*text); text++, length++) {
        if (length == 15)
            return false;
        number->digits = number->digits * 10 + (uint64_t)(*text - '0');
    }
    if (*text == '.') {
        if (!is_digit(text[1]))
            return false;
        for (text++; is_digit(*text); text++, length++) {
            if (length == 15)
                return false;
            number->digits = number->digits * 10 + (uint64_t)(*text - '0');
            number->divisor *= 10;
        }
    }
    number->unit = text;
    return true;
}

/* The number in the small unit; false where it is not whole or too large. */
static bool number_scale(const struct number *number, uint64_t unit, uint64_t maximum, uint64_t *result)
{
    unsigned __int128 value = (unsigned __int128)number->digits * unit;
    if (value % number->divisor != 0 || value / number->divisor > maximum)
        return false;
    *result = (uint64_t)(value / number->divisor);
    return true;
}
