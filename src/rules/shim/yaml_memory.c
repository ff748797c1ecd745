#include "rules/shim/yaml_memory.h"

#include <stdint.h>
#include <string.h>

static struct arena *in_use;
static jmp_buf *on_failure;

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);
char *__wrap_strdup(const char *text);
_Noreturn void __wrap___assert_fail(const char *assertion, const char *file, unsigned line,
                                    const char *function);

void yaml_memory_use(struct arena *arena, jmp_buf *failed)
{
    in_use = arena;
    on_failure = failed;
}

void *__wrap_malloc(size_t size)
{
    return __wrap_realloc(NULL, size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        return NULL;
    void *block = __wrap_realloc(NULL, count * size);
    if (block)
        memset(block, 0, count * size); /* it may have been in use before */
    return block;
}

void *__wrap_realloc(void *block, size_t size)
{
    return in_use ? arena_resize(in_use, block, size) : NULL;
}

void __wrap_free(void *block)
{
    if (in_use)
        arena_release(in_use, block);
}

char *__wrap_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = __wrap_realloc(NULL, size);
    return copy ? memcpy(copy, text, size) : NULL;
}

_Noreturn void __wrap___assert_fail(const char *assertion, const char *file, unsigned line,
                                    const char *function)
{
    (void)assertion, (void)file, (void)line, (void)function;
    if (on_failure)
        longjmp(*on_failure, 1);
    __builtin_trap(); /* nobody else in the shim uses assert */
}
