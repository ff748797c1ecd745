/* Which functions are meant: they are looked for in the hash tables of all objects. */
#include <string.h>

#include "functions/functions.h"
#include "functions/patch.h"
#include "rules/pattern.h"
#include "state/process.h"

static void note_library(struct pass *pass, const struct object *object);
static void add(struct pass *pass, const struct object *object, uint32_t name, uint32_t symbol);
static void note_real(uintptr_t *real, const struct definition *definition);
static const struct function *declaration_of(const struct pass *pass, const struct object *object,
                                             const char *symbol);
static bool find_inner(const struct object *object, const char *symbol, uintptr_t *address);
static int find_elsewhere(struct dl_phdr_info *info, size_t size, void *data);

void definitions_find(struct pass *pass, const struct object *object)
{
    for (uint32_t name = 0; name < pass->name_count; name++)
        for (uint32_t symbol = 0; (symbol = object_symbol(object, pass->names[name], symbol)) != 0;)
            add(pass, object, name, symbol);
    note_library(pass, object);
}

/* A pattern that fits any library says nothing of which one is meant. */
static void note_library(struct pass *pass, const struct object *object)
{
    _Static_assert(FUNCTIONS_MAX <= 64, "a mask has a bit for each");
    for (uint32_t i = 0; pass->rules && *object->name && i < pass->rules->function_count; i++) {
        const struct function *function = &pass->rules->functions[i];
        if (!function->library || !pattern_matches(function->library, object->name) ||
            pattern_matches(function->library, "lib.so"))
            continue;
        pass->has_library |= UINT64_C(1) << i;
        if (object_symbol(object, function->symbol, 0))
            pass->has_symbol |= UINT64_C(1) << i;
    }
}

static void add(struct pass *pass, const struct object *object, uint32_t name, uint32_t symbol)
{
    /* A choice between implementations can be asked for only once the loader has finished with the object. */
    bool is_choice = ELF64_ST_TYPE(object->symbols[symbol].st_info) == STT_GNU_IFUNC;
    bool may_ask = is_choice && patch_may_touch(object);
    if (is_choice && !may_ask)
        pass->is_unfinished = true;
    uintptr_t address = object_function(object, symbol, may_ask);
    if (!address)
        return;
    if (pass->definition_count == DEFINITIONS_MAX) {
        pass->left_alone++;
        return;
    }
    struct definition *definition = &pass->definitions[pass->definition_count++];
    *definition = (struct definition){.address = address, .name = name, .object = pass->object};
    definition->version = object_version(object, symbol, &definition->is_default);
    if (name < 2) {
        bool is_libc =
            pattern_matches("libc.so.*", object->name) || pattern_matches("libdl.so.*", object->name);
        if (!is_libc || !pass->rules)
            return;
        note_real((uintptr_t *)(name == 0 ? (void *)&functions_real_dlsym : (void *)&functions_real_dlvsym),
                  definition);
        definition->code = (uintptr_t)(name == 0 ? functions_dlsym : functions_dlvsym);
        return;
    }
    const struct function *function = pass->rules ? declaration_of(pass, object, pass->names[name]) : NULL;
    if (!function)
        return;
    if (!find_inner(object, function->check.symbol, &definition->check) ||
        !find_inner(object, function->cleanup.symbol, &definition->cleanup))
        functions_tell_unbound(function->symbol, UNBOUND_NO_CHECK);
    else
        definition->function = function;
}

/* Other threads may be calling it. */
static void note_real(uintptr_t *real, const struct definition *definition)
{
    uintptr_t known = __atomic_load_n(real, __ATOMIC_RELAXED);
    if (known != definition->address && (!known || definition->is_default))
        __atomic_store_n(real, definition->address, __ATOMIC_RELEASE);
}

/* The first one decides. */
static const struct function *declaration_of(const struct pass *pass, const struct object *object,
                                             const char *symbol)
{
    const char *name = *object->name ? object->name : process_program();
    for (uint32_t i = 0; i < pass->rules->function_count; i++)
        if (function_is_meant(&pass->rules->functions[i], name, symbol))
            return &pass->rules->functions[i];
    return NULL;
}

/* In the same object, or else wherever it is. */
struct sought {
    const char *symbol;
    uintptr_t address;
};

static bool find_inner(const struct object *object, const char *symbol, uintptr_t *address)
{
    struct sought sought = {.symbol = symbol};
    if (!symbol)
        return true;
    uint32_t found = object_symbol(object, symbol, 0);
    if (found)
        sought.address = object_function(object, found, patch_may_touch(object));
    if (!sought.address)
        dl_iterate_phdr(find_elsewhere, &sought);
    *address = sought.address;
    return sought.address != 0;
}

static int find_elsewhere(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    struct sought *sought = data;
    struct object object;
    uint32_t found = object_read(info, &object) ? object_symbol(&object, sought->symbol, 0) : 0;
    if (found && patch_may_touch(&object))
        sought->address = object_function(&object, found, true);
    return sought->address != 0;
}

void definitions_bind(struct pass *pass)
{
    struct binding_batch batch;
    binding_begin(&batch);
    for (uint32_t i = 0; i < pass->definition_count; i++) {
        const struct definition *definition = &pass->definitions[i];
        if (definition->function && !binding_find(definition->function->signature, definition->address))
            binding_add(&batch, definition->function, definition->address, definition->check,
                        definition->cleanup);
    }
    if (batch.is_full) {
        pass->is_unfinished |= batch.count > 0;
        if (!batch.count)
            functions_tell_unbound("", UNBOUND_FULL);
    }
    if (!binding_end(&batch))
        functions_tell_unbound("", UNBOUND_NO_MEMORY);
    for (uint32_t i = 0; i < pass->definition_count; i++) {
        struct definition *definition = &pass->definitions[i];
        const struct binding *binding =
            definition->function ? binding_find(definition->function->signature, definition->address) : NULL;
        if (binding)
            definition->code = binding->code;
    }
}
