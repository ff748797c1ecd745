/* Calls the real function, and the functions that are declared for what it returns. */
#include <errno.h>
#include <string.h>

#include "functions/call.h"

static void give(const struct calling *call, int64_t value);
static int64_t value_of(const void *result, enum value_type type);
static void call_inner(const struct calling *call, const struct inner_call *inner, ffi_cif *shape,
                       uintptr_t function, void *result);

void call_attempt(struct calling *call)
{
    if (call_meets_fault(call)) {
        give(call, call->function->faults.value);
        call->error = call->function->faults.error ? call->function->faults.error : call->error_before;
        return;
    }
    errno = call->error_before;
    ffi_call(&call->binding->shape, FFI_FN(call->binding->original), call->result, call->arguments);
    call->error = errno;
}

bool call_has_failed(const struct calling *call)
{
    const struct function *function = call->function;
    if (function->fails.kind != CONDITION_NONE &&
        function_has_failed(function, value_of(call->result, function->returns), call->error))
        return true;
    if (!function->check.symbol)
        return false;
    ffi_arg answer[2] = {0}; /* nothing is larger */
    call_inner(call, &function->check, &call->binding->check_shape, call->binding->check, answer);
    return condition_holds(&function->check_fails, value_of(answer, function->check.returns));
}

/* Null is nothing to be freed. */
void call_clean_up(const struct calling *call)
{
    const struct function *function = call->function;
    bool is_of_result = false;
    for (uint32_t i = 0; i < function->cleanup.count; i++)
        is_of_result |= function->cleanup.arguments[i] == 0;
    bool is_null = is_of_result && value_type_class(function->returns) == CLASS_POINTER &&
                   value_of(call->result, function->returns) == 0;
    ffi_arg answer[2];
    if (function->cleanup.symbol && !is_null)
        call_inner(call, &function->cleanup, &call->binding->cleanup_shape, call->binding->cleanup, answer);
}

void call_give_default(const struct calling *call)
{
    give(call, call->function->fallback.value);
}

static void give(const struct calling *call, int64_t value)
{
    const struct function *function = call->function;
    double wide = double_of_bits(value);
    float narrow = (float)wide;
    switch (function->returns) {
    case VALUE_VOID:
        break;
    case VALUE_FLOAT:
        memcpy(call->result, &narrow, sizeof narrow);
        break;
    case VALUE_DOUBLE:
        memcpy(call->result, &wide, sizeof wide);
        break;
    default: /* whole registers, whatever the type */
        memcpy(call->result, &value, sizeof value);
    }
}

/* The value in 64 bits. What libffi leaves beyond the bits of a narrow type is not looked at. */
static int64_t value_of(const void *result, enum value_type type)
{
    float narrow;
    if (type == VALUE_FLOAT) {
        memcpy(&narrow, result, sizeof narrow);
        return bits_of_double((double)narrow);
    }
    uint64_t bits = 0;
    unsigned unused = 64 - 8 * value_type_bytes(type);
    if (unused == 64)
        return 0;
    memcpy(&bits, result, value_type_bytes(type)); /* the lower bytes come first */
    return value_type_class(type) == CLASS_SIGNED ? (int64_t)(bits << unused) >> unused : (int64_t)bits;
}

static void call_inner(const struct calling *call, const struct inner_call *inner, ffi_cif *shape,
                       uintptr_t function, void *result)
{
    static void *null;
    void *arguments[FUNCTION_INNER_ARGUMENTS];
    for (uint32_t i = 0; i < inner->count; i++)
        arguments[i] = inner->arguments[i] == INNER_NULL ? &null
                       : inner->arguments[i]             ? call->arguments[inner->arguments[i] - 1]
                                                         : call->result;
    errno = call->error;
    ffi_call(shape, FFI_FN(function), result, arguments);
}
