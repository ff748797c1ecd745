#include "functions/binding.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

struct binding *bindings;
uint32_t binding_count;

static bool shape_inner(const struct function *function, const struct inner_call *call, ffi_cif *shape,
                        ffi_type **types);

struct binding *binding_of_code(uintptr_t code)
{
    uint32_t count = __atomic_load_n(&binding_count, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < count; i++)
        if (bindings[i].code == code)
            return &bindings[i];
    return NULL;
}

struct binding *binding_find(uint64_t signature, uintptr_t original)
{
    uint32_t count = __atomic_load_n(&binding_count, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < count; i++)
        if (bindings[i].original == original && bindings[i].signature == signature)
            return &bindings[i];
    return NULL;
}

void binding_begin(struct binding_batch *batch)
{
    *batch = (struct binding_batch){.page = NULL};
}

void binding_add(struct binding_batch *batch, const struct function *function, uintptr_t original,
                 uintptr_t check, uintptr_t cleanup)
{
    if (!bindings) {
        int error = errno;
        void *memory = mmap(NULL, BINDINGS_MAX * sizeof *bindings, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        errno = error;
        if (memory != MAP_FAILED)
            bindings = memory;
    }
    if (!batch->page)
        batch->page = closure_page_open();
    if (!bindings || !batch->page || binding_count + batch->count == BINDINGS_MAX) {
        batch->is_full = true;
        return;
    }
    struct binding *binding = &bindings[binding_count + batch->count];
    *binding = (struct binding){
        .signature = function->signature, .original = original, .check = check, .cleanup = cleanup};
    strncpy(binding->symbol, function->symbol, sizeof binding->symbol - 1);
    void *code = NULL;
    if (closure_shape(&binding->shape, binding->types, function->returns, function->arguments,
                      function->argument_count) &&
        shape_inner(function, &function->check, &binding->check_shape, binding->check_types) &&
        shape_inner(function, &function->cleanup, &binding->cleanup_shape, binding->cleanup_types))
        code = closure_make(batch->page, &binding->shape, function_called, binding);
    binding->code = (uintptr_t)code;
    if (code)
        batch->count++;
    else
        batch->is_full = true; /* the next pass goes on, with a page of its own */
}

static bool shape_inner(const struct function *function, const struct inner_call *call, ffi_cif *shape,
                        ffi_type **types)
{
    enum value_type arguments[FUNCTION_INNER_ARGUMENTS];
    for (uint32_t i = 0; i < call->count; i++)
        arguments[i] = call->arguments[i] == INNER_NULL ? VALUE_POINTER
                       : call->arguments[i]             ? function->arguments[call->arguments[i] - 1]
                                                        : function->returns;
    return !call->symbol || closure_shape(shape, types, call->returns, arguments, call->count);
}

bool binding_end(struct binding_batch *batch)
{
    intptr_t moved;
    if (batch->count == 0) {
        if (batch->page)
            munmap(batch->page, 4096);
        return true;
    }
    if (!closure_page_finish(batch->page, &moved))
        return false;
    for (uint32_t i = 0; i < batch->count; i++)
        bindings[binding_count + i].code += (uintptr_t)moved;
    __atomic_store_n(&binding_count, binding_count + batch->count, __ATOMIC_RELEASE);
    return true;
}

const struct function *binding_declaration(struct binding *binding, const struct ruleset *rules)
{
    uint32_t place = __atomic_load_n(&binding->place, __ATOMIC_RELAXED);
    if (place < rules->function_count && rules->functions[place].signature == binding->signature)
        return &rules->functions[place];
    for (place = 0; place < rules->function_count; place++) {
        if (rules->functions[place].signature != binding->signature)
            continue;
        __atomic_store_n(&binding->place, place, __ATOMIC_RELAXED);
        return &rules->functions[place];
    }
    return NULL;
}
