/* Values of declared functions as they are written: whole numbers, and decimal fractions for float and double. */
#include <math.h>
#include <string.h>

#include "base/text.h"
#include "rules/function.h"

/* Whole numbers below this, and powers of ten up to that one, are doubles without a remainder: one division or
 * multiplication of them is rounded once, as the compiler does that the library was made with. */
#define DIGITS_MAX   15
#define EXPONENT_MAX 22

static bool exponent_parse(const char *text, int *exponent);
static bool scaled(uint64_t digits, int exponent, double *value);
static void add_fraction(struct text *text, double value);
static bool is_near(double value, int exponent, bool is_float, uint64_t *digits);

int64_t bits_of_double(double value)
{
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

double double_of_bits(int64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

bool whole_number_parse(const char *text, int64_t *value)
{
    bool is_negative = *text == '-';
    uint64_t number = 0;
    text += is_negative;
    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || number > (uint64_t)INT64_MAX / 10 - 1)
            return false;
        number = number * 10 + (uint64_t)(*text - '0');
    }
    *value = is_negative ? -(int64_t)number : (int64_t)number;
    return true;
}

/* No strtod: what it takes for a decimal point is the program's affair. */
bool fraction_parse(const char *text, enum value_type type, int64_t *bits)
{
    bool is_negative = *text == '-';
    text += is_negative;
    text += *text == '.' && (text[1] == 'i' || text[1] == 'n'); /* YAML's .inf and .nan */
    double value = 0;
    if (strcmp(text, "inf") == 0) {
        value = (double)INFINITY;
    } else if (strcmp(text, "nan") == 0 && !is_negative) {
        value = (double)NAN;
    } else {
        uint64_t digits = 0;
        int exponent = 0, count = 0, kept = 0;
        bool is_behind_point = false;
        for (; (*text >= '0' && *text <= '9') || (*text == '.' && !is_behind_point); text++) {
            if (*text == '.') {
                is_behind_point = true;
                continue;
            }
            count++;
            kept += kept || *text != '0';
            if (kept > DIGITS_MAX)
                return false;
            digits = digits * 10 + (uint64_t)(*text - '0');
            exponent -= is_behind_point;
        }
        if (!count || text[-1] == '.' || (*text && !exponent_parse(text, &exponent)) ||
            !scaled(digits, exponent, &value))
            return false;
    }
    if (type == VALUE_FLOAT)
        value = (double)(float)value;
    *bits = bits_of_double(is_negative ? -value : value);
    return true;
}

/* e-3 */
static bool exponent_parse(const char *text, int *exponent)
{
    int64_t more;
    if (*text != 'e' && *text != 'E')
        return false;
    text++;
    text += *text == '+' && text[1] != '-';
    if (!whole_number_parse(text, &more) || more > 100 || more < -100)
        return false;
    *exponent += (int)more;
    return true;
}

static bool scaled(uint64_t digits, int exponent, double *value)
{
    double power = 1;
    while (digits && exponent > EXPONENT_MAX && digits < UINT64_C(100000000000000)) {
        digits *= 10;
        exponent--;
    }
    if (digits && (exponent > EXPONENT_MAX || exponent < -EXPONENT_MAX))
        return false;
    for (int i = 0; digits && i < exponent; i++)
        power *= 10;
    for (int i = 0; digits && i > exponent; i--)
        power *= 10;
    *value = exponent < 0 ? (double)digits / power : (double)digits * power;
    return true;
}

struct result_text result_text(enum value_class class, int64_t value)
{
    struct result_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    if (class == CLASS_POINTER && value == 0) {
        text_add(&text, "null");
        return result;
    }
    if (class != CLASS_FLOATING) {
        text_add(&text, "%ld", (long)value);
        return result;
    }
    double number = double_of_bits(value);
    text_add(&text, "%s", number < 0 ? "-" : "");
    if (isnan(number) || isinf(number))
        text_add(&text, "%s", isnan(number) ? "nan" : "inf");
    else
        add_fraction(&text, number < 0 ? -number : number);
    return result;
}

/* The fewest digits that mean the same when they are read: as a double, else as a float. */
static void add_fraction(struct text *text, double value)
{
    uint64_t digits = 0, unit = 1;
    int exponent = EXPONENT_MAX;
    bool is_float = false;
    while (!is_near(value, exponent, is_float, &digits) && !(is_float && exponent == -EXPONENT_MAX)) {
        is_float |= exponent == -EXPONENT_MAX;
        exponent = exponent == -EXPONENT_MAX ? EXPONENT_MAX : exponent - 1;
    }
    for (; digits && digits % 10 == 0; digits /= 10)
        exponent++;
    uint64_t whole = digits;
    int left = exponent;
    for (; left > 0 && whole < UINT64_C(100000000000000); left--) /* no more digits than can be read */
        whole *= 10;
    if (!digits || exponent < -6 || exponent > 6 || left > 0) {
        text_add(text, "%lu", (unsigned long)digits);
        if (digits)
            text_add(text, "e%d", exponent);
        return;
    }
    for (; exponent > 0; exponent--)
        digits *= 10;
    for (; exponent < 0; exponent++)
        unit *= 10;
    text_add(text, "%lu%s", (unsigned long)(digits / unit), unit > 1 ? "." : "");
    for (digits %= unit; unit > 1; digits %= unit) {
        unit /= 10;
        text_add(text, "%lu", (unsigned long)(digits / unit));
    }
}

static bool is_near(double value, int exponent, bool is_float, uint64_t *digits)
{
    double power = 1, back;
    for (int i = 0; i < (exponent < 0 ? -exponent : exponent); i++)
        power *= 10;
    double most = (exponent < 0 ? value * power : value / power) + 0.5;
    if (!(most < 1e15))
        return false;
    *digits = (uint64_t)most;
    back = exponent < 0 ? (double)*digits / power : (double)*digits * power;
    return is_float ? (double)(float)back == value : back == value;
}
