/* Reads what makes a call of a declared function a failure, and what is done with what it returned then. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "rules/function_reader.h"

#define QUOTED(node) quote((node)->text, (node)->length).text

static void condition_read(struct reader *reader, const struct node *node, const char *path,
                           enum value_type type, struct condition *condition);
static void comparison_read(struct reader *reader, const struct node *node, const char *path,
                            enum value_type type, struct condition *condition);
static void errors_read(struct reader *reader, const struct node *node, struct function *function);
static void check_read(struct reader *reader, const struct node *node, struct function *function);
static void inner_call_read(struct reader *reader, const struct node *place, const struct node *arguments,
                            const char *path, const struct function *function, struct inner_call *call);

void fails_when_read(struct reader *reader, const struct node *node, struct function *function)
{
    static const char *const names[] = {"returns", "errno", "check", NULL};
    const struct fields fields = {.path = "fails_when", .names = names};
    const struct node *values[FIELDS_MAX];
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node, "fails_when: needs returns or check below it (fails_when: {returns: null})");
        return;
    }
    if (values[0] && function->returns == VALUE_VOID)
        COMPLAIN(reader, values[0], "fails_when.returns: it returns void (use check)");
    else if (values[0])
        condition_read(reader, values[0], "fails_when.returns", function->returns, &function->fails);
    if (values[1] && !values[0])
        COMPLAIN(
            reader, values[1],
            "fails_when.errno: needs returns beside it (errno says nothing after a call that succeeded)");
    else if (values[1])
        errors_read(reader, values[1], function);
    if (values[2])
        check_read(reader, values[2], function);
    if (!values[0] && !values[2] && !values[1])
        COMPLAIN(reader, node, "fails_when: needs returns or check below it (fails_when: {returns: null})");
}

void cleanup_read(struct reader *reader, const struct node *node, struct function *function)
{
    static const char *const names[] = {"symbol", "args", NULL};
    const struct fields fields = {.path = "cleanup", .names = names};
    const struct node *values[FIELDS_MAX];
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node,
                 "cleanup: needs symbol and args below it (cleanup: {symbol: PQfinish, args: [result]})");
        return;
    }
    inner_call_read(reader, values[0] ? values[0] : node, values[1], "cleanup", function, &function->cleanup);
    if (values[0])
        function->cleanup.symbol = symbol_read(reader, values[0], "cleanup.symbol");
    else
        COMPLAIN(reader, node, "cleanup.symbol: is missing (the function that frees a failed result)");
}

static void check_read(struct reader *reader, const struct node *node, struct function *function)
{
    static const char *const names[] = {"symbol", "args", "returns", "fails_when", NULL};
    const struct fields fields = {.path = "fails_when.check", .names = names};
    const struct node *values[FIELDS_MAX];
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node,
                 "fails_when.check: needs symbol, args and fails_when below it "
                 "(check: {symbol: PQstatus, args: [result], fails_when: \"!= 0\"})");
        return;
    }
    struct inner_call *check = &function->check;
    check->returns = VALUE_INT;
    if (values[2] && scalar_text(reader, values[2], "fails_when.check.returns")) {
        check->returns = value_type_by_name(values[2]->text);
        if (check->returns == VALUE_TYPES || check->returns == VALUE_VOID) {
            COMPLAIN(reader, values[2],
                     "fails_when.check.returns: %s is no type that could be judged (write int)",
                     QUOTED(values[2]));
            check->returns = VALUE_INT;
        }
    }
    inner_call_read(reader, values[0] ? values[0] : node, values[1], "fails_when.check", function, check);
    if (values[0])
        check->symbol = symbol_read(reader, values[0], "fails_when.check.symbol");
    else
        COMPLAIN(reader, node,
                 "fails_when.check.symbol: is missing (the function that says whether it failed)");
    if (values[3])
        condition_read(reader, values[3], "fails_when.check.fails_when", check->returns,
                       &function->check_fails);
    else
        COMPLAIN(reader, node,
                 "fails_when.check.fails_when: is missing (what it returns then: fails_when: \"!= 0\")");
}

static void inner_call_read(struct reader *reader, const struct node *place, const struct node *arguments,
                            const char *path, const struct function *function, struct inner_call *call)
{
    struct child single;
    char where[64];
    struct text text = text_begin(where, sizeof where);
    text_add(&text, "%s.args", path);
    if (!arguments) {
        COMPLAIN(reader, place, "%s: is missing (what it is called with: args: [result])", where);
        return;
    }
    if (arguments->kind == NODE_SEQUENCE && !arguments->children)
        return;
    for (const struct child *item = list_items(reader, arguments, where, &single); item; item = item->next) {
        uint32_t number = 0;
        bool is_result = node_is(item->node, "result");
        if (call->count == FUNCTION_INNER_ARGUMENTS) {
            COMPLAIN(reader, item->node, "%s: more than %u", where, FUNCTION_INNER_ARGUMENTS);
            return;
        }
        if (item->node->kind == NODE_SCALAR && node_is_null(item->node)) {
            call->arguments[call->count++] = INNER_NULL;
        } else if (is_result && function->returns == VALUE_VOID) {
            COMPLAIN(reader, item->node, "%s: it returns void, so there is no result", where);
        } else if (!is_result &&
                   (item->node->kind != NODE_SCALAR || !argument_number(item->node->text, &number))) {
            COMPLAIN(reader, item->node,
                     "%s: %s is not known (result, arg 1 for the first argument, or null)", where,
                     item->node->kind == NODE_SCALAR ? QUOTED(item->node) : "that");
        } else if (!is_result && (number < 1 || number > function->argument_count)) {
            COMPLAIN(reader, item->node, "%s: %s: it has %u argument%s", where, QUOTED(item->node),
                     function->argument_count, function->argument_count == 1 ? "" : "s");
        } else {
            call->arguments[call->count++] = (uint8_t)number;
        }
    }
}

/* null, 7, [1, 5], "< 0" */
static void condition_read(struct reader *reader, const struct node *node, const char *path,
                           enum value_type type, struct condition *condition)
{
    condition->class = value_type_class(type);
    if (node->kind == NODE_SCALAR && !node_is_null(node) && node->length && strchr("<>!=", *node->text)) {
        comparison_read(reader, node, path, type, condition);
        return;
    }
    condition->kind = CONDITION_ONE_OF;
    if (node->kind != NODE_SEQUENCE) {
        condition->is_null = node_is_null(node);
        condition->count = value_of_result(reader, node, path, type, &condition->values[0]);
        return;
    }
    for (const struct child *item = list_items(reader, node, path, NULL); item; item = item->next) {
        if (condition->count == CONDITION_VALUES_MAX) {
            COMPLAIN(reader, item->node, "%s: more than %u values", path, CONDITION_VALUES_MAX);
            return;
        }
        condition->count +=
            value_of_result(reader, item->node, path, type, &condition->values[condition->count]);
    }
}

static void comparison_read(struct reader *reader, const struct node *node, const char *path,
                            enum value_type type, struct condition *condition)
{
    static const struct {
        const char *sign;
        int kind;
    } signs[] = {{"<=", CONDITION_AT_MOST}, {">=", CONDITION_AT_LEAST}, {"!=", CONDITION_NOT},
                 {"==", CONDITION_ONE_OF},  {"<", CONDITION_BELOW},     {">", CONDITION_ABOVE}};
    size_t i = 0;
    while (i < sizeof signs / sizeof *signs && strncmp(node->text, signs[i].sign, strlen(signs[i].sign)) != 0)
        i++;
    if (i == sizeof signs / sizeof *signs) {
        COMPLAIN(reader, node, "%s: %s is no comparison (\"< 0\", \"!= 0\", null, 7 or [1, 5])", path,
                 QUOTED(node));
        return;
    }
    const char *number = node->text + strlen(signs[i].sign);
    number += strspn(number, " ");
    condition->is_null = strcmp(number, "null") == 0;
    enum value_class class = condition->class;
    bool is_floating = class == CLASS_FLOATING;
    if (!condition->is_null && !(is_floating ? fraction_parse(number, type, &condition->values[0])
                                             : whole_number_parse(number, &condition->values[0]))) {
        COMPLAIN(reader, node, "%s: %s compares with no %s", path, QUOTED(node),
                 is_floating
                     ? "number that a fraction can be (at most 15 digits: \"< 0.5\", nan or [0, -1.5])"
                     : "whole number (\"< 0\", \"!= 0\", null, 7 or [1, 5])");
        return;
    }
    bool is_order = signs[i].kind != CONDITION_NOT && signs[i].kind != CONDITION_ONE_OF;
    if (condition->is_null && class != CLASS_POINTER) {
        COMPLAIN(reader, node, "%s: %s is never null (write 0)", path, value_type_name(type));
    } else if (is_order && class == CLASS_POINTER) {
        COMPLAIN(reader, node,
                 "%s: a pointer is neither less nor more than anything (write null or \"!= null\")", path);
    } else if (is_order && is_floating && isnan(double_of_bits(condition->values[0]))) {
        COMPLAIN(reader, node, "%s: nan is neither less nor more than anything (write nan or \"!= nan\")",
                 path);
    } else if (class == CLASS_UNSIGNED && signs[i].kind == CONDITION_BELOW && condition->values[0] <= 0) {
        COMPLAIN(reader, node,
                 "%s: %s is declared as the type, which is never below 0 (write ssize_t or int)", path,
                 value_type_name(type));
    } else {
        condition->kind = signs[i].kind;
        condition->count = 1;
    }
}

bool value_of_result(struct reader *reader, const struct node *node, const char *path, enum value_type type,
                     int64_t *value)
{
    enum value_class class = value_type_class(type);
    *value = 0;
    if (node->kind == NODE_SCALAR && node_is_null(node)) {
        if (class == CLASS_POINTER)
            return true;
        COMPLAIN(reader, node, "%s: %s is never null (write 0)", path, value_type_name(type));
        return false;
    }
    if (!scalar_text(reader, node, path))
        return false;
    if (class == CLASS_FLOATING) {
        if (fraction_parse(node->text, type, value))
            return true;
        COMPLAIN(reader, node, "%s: %s is no number (at most 15 digits: 1.5, -0.25, 1e-3, inf or nan)", path,
                 QUOTED(node));
        return false;
    }
    if (!whole_number_parse(node->text, value)) {
        COMPLAIN(reader, node, "%s: %s is no whole number%s", path, QUOTED(node),
                 class == CLASS_POINTER ? " and not null" : "");
        return false;
    }
    unsigned bits = 8 * value_type_bytes(type);
    bool is_signed = class == CLASS_SIGNED;
    bool fits = bits == 64 || (*value >= (is_signed ? -((int64_t)1 << (bits - 1)) : 0) &&
                               *value < (int64_t)1 << (is_signed ? bits - 1 : bits));
    if (!fits)
        COMPLAIN(reader, node, "%s: %s is more than a value of the type %s can be", path, QUOTED(node),
                 value_type_name(type));
    return fits;
}

static void errors_read(struct reader *reader, const struct node *node, struct function *function)
{
    struct child single;
    for (const struct child *item = list_items(reader, node, "fails_when.errno", &single); item;
         item = item->next) {
        if (!scalar_text(reader, item->node, "fails_when.errno"))
            continue;
        int error = errno_by_name(item->node->text);
        if (error == 0)
            COMPLAIN(reader, item->node,
                     "fails_when.errno: %s is no error that is known here (write ECONNREFUSED)",
                     QUOTED(item->node));
        else if (function->error_count == CONDITION_VALUES_MAX)
            COMPLAIN(reader, item->node, "fails_when.errno: more than %u", CONDITION_VALUES_MAX);
        else
            function->errors[function->error_count++] = error;
    }
}

const char *symbol_read(struct reader *reader, const struct node *node, const char *path)
{
    const char *text = scalar_text(reader, node, path);
    if (!text)
        return NULL;
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.$";
    if (text[strspn(text, allowed)] || node->length > 127) {
        COMPLAIN(reader, node,
                 "%s: %s is not the name of a function (of C++ functions write the mangled one)", path,
                 QUOTED(node));
        return NULL;
    }
    return reader_text(reader, text);
}

bool argument_number(const char *text, uint32_t *number)
{
    int64_t value;
    if (strncmp(text, "arg", 3) != 0)
        return false;
    text += 3;
    text += strspn(text, " ");
    if (!whole_number_parse(text, &value) || value < 0 || value > FUNCTION_ARGUMENTS_MAX)
        return false;
    *number = (uint32_t)value;
    return true;
}
