#include "functions/patch.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "functions/functions.h"

/* Relocations that hold the address of a function: of calls, and of calls and pointers that go without a stub. */
#if defined(__x86_64__)
#define IS_SLOT(type) ((type) == R_X86_64_JUMP_SLOT || (type) == R_X86_64_GLOB_DAT)
#define IS_CALL(type) ((type) == R_X86_64_JUMP_SLOT)
#elif defined(__aarch64__)
#define IS_SLOT(type) ((type) == R_AARCH64_JUMP_SLOT || (type) == R_AARCH64_GLOB_DAT)
#define IS_CALL(type) ((type) == R_AARCH64_JUMP_SLOT)
#else
#define IS_SLOT(type) false /* closures are made on these processors only */
#define IS_CALL(type) false
#endif

static int make(struct dl_phdr_info *info, size_t size, void *data);
static int find_one(struct dl_phdr_info *info, size_t size, void *data);
static int patch_one(struct dl_phdr_info *info, size_t size, void *data);
static void patch_object(struct pass *pass, const struct object *object);
static uint32_t name_of(const struct pass *pass, const char *symbol);
static uintptr_t wanted_in(struct pass *pass, const struct object *object, const Elf64_Rela *relocation,
                           uint32_t name, uintptr_t value);
static const struct definition *meant_by_call(struct pass *pass, const struct object *object, uint32_t symbol,
                                              uint32_t name);
static bool is_ours(const struct object *object);
static int note_adds(struct dl_phdr_info *info, size_t size, void *data);

void patch_make(struct pass *pass)
{
    for (uint32_t i = 0; i < pass->name_count; i++)
        pass->may_be[(unsigned char)(pass->names[i][0] * 31 + pass->names[i][1])] = true;
    dl_iterate_phdr(make, pass);
}

bool patch_may_touch(const struct object *object)
{
    return functions_at_start || object_is_settled(object);
}

unsigned long long patch_adds(void)
{
    unsigned long long adds = 0;
    dl_iterate_phdr(note_adds, &adds);
    return adds;
}

static int note_adds(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    *(unsigned long long *)data = info->dlpi_adds;
    return 1;
}

/* Called for one object, and does it all: the lock that is held meanwhile may be taken again. */
static int make(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    struct pass *pass = data;
    pass->adds = info->dlpi_adds;
    pass->object = 0;
    dl_iterate_phdr(find_one, pass);
    if (functions_at_start)
        pass->start_objects = pass->object;
    definitions_bind(pass);
    dl_iterate_phdr(patch_one, pass);
    return 1;
}

static int find_one(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    struct pass *pass = data;
    struct object object;
    if (object_read(info, &object) && !is_ours(&object))
        definitions_find(pass, &object);
    pass->object++;
    return 0;
}

static int patch_one(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    struct pass *pass = data;
    struct object object;
    if (!object_read(info, &object) || is_ours(&object) || strncmp(object.name, "ld-linux", 8) == 0)
        return 0;
    patch_object(pass, &object);
    return 0;
}

static void patch_object(struct pass *pass, const struct object *object)
{
    bool is_open = false, is_looked_at = false;
    int error = errno;
    for (unsigned table = 0; table < 2; table++) {
        for (size_t i = 0; i < object->relocations[table].count; i++) {
            const Elf64_Rela *relocation = &object->relocations[table].items[i];
            if (!IS_SLOT(ELF64_R_TYPE(relocation->r_info)))
                continue;
            uint32_t symbol = (uint32_t)ELF64_R_SYM(relocation->r_info);
            uint32_t name = name_of(pass, object->strings + object->symbols[symbol].st_name);
            if (name == pass->name_count)
                continue;
            /* Asked once there is anything to change, which is seldom. */
            if (!is_looked_at && !patch_may_touch(object)) {
                pass->is_unfinished = true;
                return;
            }
            is_looked_at = true;
            uintptr_t *slot = (uintptr_t *)(object->base + relocation->r_offset);
            uintptr_t value = __atomic_load_n(slot, __ATOMIC_RELAXED);
            uintptr_t wanted = wanted_in(pass, object, relocation, name, value);
            if (wanted == value)
                continue;
            bool is_protected = (uintptr_t)slot >= object->relro_begin && (uintptr_t)slot < object->relro_end;
            if (is_protected && !is_open) {
                is_open = mprotect((void *)object->relro_begin, object->relro_end - object->relro_begin,
                                   PROT_READ | PROT_WRITE) == 0;
                if (!is_open) {
                    functions_tell_unbound(pass->names[name], UNBOUND_PROTECTED);
                    continue;
                }
            }
            __atomic_store_n(slot, wanted, __ATOMIC_RELEASE);
            pass->placed++;
        }
    }
    if (is_open)
        mprotect((void *)object->relro_begin, object->relro_end - object->relro_begin, PROT_READ);
    errno = error;
}

static uint32_t name_of(const struct pass *pass, const char *symbol)
{
    if (!pass->may_be[(unsigned char)(symbol[0] * 31 + (symbol[0] ? symbol[1] : 0))])
        return pass->name_count;
    uint32_t name = 0;
    while (name < pass->name_count && strcmp(pass->names[name], symbol) != 0)
        name++;
    return name;
}

/* What should stand in a slot where `value` stands now. Whatever is not known stays as it is. */
static uintptr_t wanted_in(struct pass *pass, const struct object *object, const Elf64_Rela *relocation,
                           uint32_t name, uintptr_t value)
{
    const struct binding *binding = binding_of_code(value);
    uintptr_t original = binding                                            ? binding->original
                         : name == 0 && value == (uintptr_t)functions_dlsym ? (uintptr_t)functions_real_dlsym
                         : name == 1 && value == (uintptr_t)functions_dlvsym
                             ? (uintptr_t)functions_real_dlvsym
                             : value;
    for (uint32_t i = 0; i < pass->definition_count; i++) {
        const struct definition *definition = &pass->definitions[i];
        if (definition->name == name && definition->address == original)
            return definition->code ? definition->code : definition->address;
    }
    if (binding)
        return binding->original; /* its library is gone */
    /* A call that has not been made yet leads into the object itself, which would look the function up. */
    bool is_open_call =
        IS_CALL(ELF64_R_TYPE(relocation->r_info)) && value >= object->code_begin && value < object->code_end;
    const struct definition *definition =
        is_open_call ? meant_by_call(pass, object, (uint32_t)ELF64_R_SYM(relocation->r_info), name) : NULL;
    return definition && definition->code ? definition->code : value;
}

/* Which function the loader would find. Where several have the name and the version it is the first of those that the
 * program began with; where none of them was there then, it depends on who has loaded whom, and the call is left alone. */
static const struct definition *meant_by_call(struct pass *pass, const struct object *object, uint32_t symbol,
                                              uint32_t name)
{
    const char *version = object_version(object, symbol, NULL);
    const struct definition *first = NULL;
    bool is_one = true;
    for (uint32_t i = 0; i < pass->definition_count; i++) {
        const struct definition *definition = &pass->definitions[i];
        bool fits = !definition->version ||
                    (version ? strcmp(definition->version, version) == 0 : definition->is_default);
        if (definition->name != name || !fits)
            continue;
        is_one &= !first || first->address == definition->address;
        if (!first)
            first = definition;
    }
    if (!first || is_one || first->object < pass->start_objects)
        return first;
    pass->left_alone++;
    return NULL;
}

static bool is_ours(const struct object *object)
{
    uintptr_t here = (uintptr_t)patch_make;
    return here >= object->code_begin && here < object->code_end;
}
