/* The types that declared functions may have, and what is asked about values of them. */
#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/types.h>

#include "base/text.h"
#include "rules/function.h"
#include "rules/pattern.h"

static bool are_equal(enum value_class class, int64_t a, int64_t b);
static bool is_below(enum value_class class, int64_t a, int64_t b);

static const struct {
    const char *name;
    enum value_class class;
    unsigned bytes;
} types[VALUE_TYPES] = {
    [VALUE_VOID] = {"void", CLASS_VOID, 0},
    [VALUE_BOOL] = {"bool", CLASS_UNSIGNED, sizeof(bool)},
    [VALUE_CHAR] = {"char", CHAR_MIN < 0 ? CLASS_SIGNED : CLASS_UNSIGNED, sizeof(char)},
    [VALUE_SHORT] = {"short", CLASS_SIGNED, sizeof(short)},
    [VALUE_INT] = {"int", CLASS_SIGNED, sizeof(int)},
    [VALUE_UNSIGNED] = {"unsigned", CLASS_UNSIGNED, sizeof(unsigned)},
    [VALUE_LONG] = {"long", CLASS_SIGNED, sizeof(long)},
    [VALUE_UNSIGNED_LONG] = {"ulong", CLASS_UNSIGNED, sizeof(unsigned long)},
    [VALUE_INT8] = {"int8", CLASS_SIGNED, 1},
    [VALUE_INT16] = {"int16", CLASS_SIGNED, 2},
    [VALUE_INT32] = {"int32", CLASS_SIGNED, 4},
    [VALUE_INT64] = {"int64", CLASS_SIGNED, 8},
    [VALUE_UINT8] = {"uint8", CLASS_UNSIGNED, 1},
    [VALUE_UINT16] = {"uint16", CLASS_UNSIGNED, 2},
    [VALUE_UINT32] = {"uint32", CLASS_UNSIGNED, 4},
    [VALUE_UINT64] = {"uint64", CLASS_UNSIGNED, 8},
    [VALUE_SIZE] = {"size_t", CLASS_UNSIGNED, sizeof(size_t)},
    [VALUE_SSIZE] = {"ssize_t", CLASS_SIGNED, sizeof(ssize_t)},
    [VALUE_FLOAT] = {"float", CLASS_FLOATING, sizeof(float)},
    [VALUE_DOUBLE] = {"double", CLASS_FLOATING, sizeof(double)},
    [VALUE_POINTER] = {"pointer", CLASS_POINTER, sizeof(void *)},
    [VALUE_STRING] = {"string", CLASS_POINTER, sizeof(char *)},
};

const char *const value_type_names[] = {
    "void",   "bool",    "char",  "short",  "int",     "unsigned", "long",   "ulong",
    "int8",   "int16",   "int32", "int64",  "uint8",   "uint16",   "uint32", "uint64",
    "size_t", "ssize_t", "float", "double", "pointer", "string",   NULL,
};
_Static_assert(sizeof value_type_names / sizeof *value_type_names == VALUE_TYPES + 1, "a type has no word");

const char *value_type_name(enum value_type type)
{
    return types[type].name;
}

enum value_class value_type_class(enum value_type type)
{
    return types[type].class;
}

unsigned value_type_bytes(enum value_type type)
{
    return types[type].bytes;
}

enum value_type value_type_by_name(const char *name)
{
    unsigned type = 0;
    while (type < VALUE_TYPES && strcmp(types[type].name, name) != 0)
        type++;
    return (enum value_type)type;
}

bool condition_holds(const struct condition *condition, int64_t value)
{
    if (condition->kind == CONDITION_NONE)
        return false;
    bool is_equal = false;
    for (uint32_t i = 0; i < condition->count && !is_equal; i++)
        is_equal = are_equal(condition->class, value, condition->values[i]);
    bool is_above = is_below(condition->class, condition->values[0], value);
    switch (condition->kind) {
    case CONDITION_NONE:
        break;
    case CONDITION_ONE_OF:
        return is_equal;
    case CONDITION_NOT:
        return !is_equal;
    case CONDITION_BELOW:
        return is_below(condition->class, value, condition->values[0]);
    case CONDITION_AT_MOST:
        return is_equal || is_below(condition->class, value, condition->values[0]);
    case CONDITION_ABOVE:
        return is_above;
    case CONDITION_AT_LEAST:
        return is_equal || is_above;
    }
    return false;
}

/* 0 and -0 are one number, nan is what is asked for by its name. */
static bool are_equal(enum value_class class, int64_t a, int64_t b)
{
    double x = double_of_bits(a), y = double_of_bits(b);
    if (class != CLASS_FLOATING)
        return a == b;
    return x == y || (isnan(x) && isnan(y));
}

static bool is_below(enum value_class class, int64_t a, int64_t b)
{
    if (class == CLASS_FLOATING)
        return double_of_bits(a) < double_of_bits(b);
    return class == CLASS_SIGNED ? a < b : (uint64_t)a < (uint64_t)b;
}

bool function_has_failed(const struct function *function, int64_t value, int error)
{
    if (!condition_holds(&function->fails, value))
        return false;
    for (uint32_t i = 0; i < function->error_count; i++)
        if (function->errors[i] == error)
            return true;
    return function->error_count == 0;
}

struct condition_text condition_text(const struct condition *condition)
{
    static const char *const signs[] = {
        [CONDITION_NOT] = "!= ",  [CONDITION_BELOW] = "< ",     [CONDITION_AT_MOST] = "<= ",
        [CONDITION_ABOVE] = "> ", [CONDITION_AT_LEAST] = ">= ",
    };
    struct condition_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    if (condition->kind == CONDITION_NONE)
        text_add(&text, "never");
    else if (condition->kind != CONDITION_ONE_OF)
        text_add(&text, "%s%s", signs[condition->kind], condition->is_null ? "null" : "");
    else if (condition->count > 1)
        text_add(&text, "[");
    if (condition->is_null && condition->kind == CONDITION_ONE_OF)
        text_add(&text, "null");
    for (uint32_t i = 0; i < condition->count && !condition->is_null; i++)
        text_add(&text, "%s%s", i ? ", " : "", result_text(condition->class, condition->values[i]).text);
    if (condition->count > 1)
        text_add(&text, "]");
    return result;
}

struct function_text function_text(const struct function *function)
{
    struct function_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    text_add(&text, "%s(", function->symbol);
    for (uint32_t i = 0; i < function->argument_count; i++)
        text_add(&text, "%s%s", i ? ", " : "", types[function->arguments[i]].name);
    text_add(&text, ") -> %s", types[function->returns].name);
    return result;
}

struct function_text inner_call_text(const struct inner_call *call)
{
    struct function_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    if (!call->symbol)
        return result;
    text_add(&text, "%s(", call->symbol);
    for (uint32_t i = 0; i < call->count; i++)
        if (call->arguments[i] == INNER_NULL)
            text_add(&text, "%snull", i ? ", " : "");
        else if (call->arguments[i])
            text_add(&text, "%sarg %u", i ? ", " : "", call->arguments[i]);
        else
            text_add(&text, "%sresult", i ? ", " : "");
    text_add(&text, ")");
    return result;
}

bool function_is_meant(const struct function *function, const char *library, const char *symbol)
{
    return strcmp(function->symbol, symbol) == 0 &&
           (!library || !function->library || pattern_matches(function->library, library));
}
