/* dlsym: programs ask for functions of libraries that they have opened, and get those that are declared from here.
 *
 * RTLD_NEXT and RTLD_DEFAULT mean something else for each caller, so what stands in front of dlsym must not be a caller in
 * between: it asks first, and where the answer is "no" it jumps to the real one as if it had not been there. */
#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "functions/binding.h"
#include "functions/functions.h"
#include "state/current.h"

void *(*functions_real_dlsym)(void *handle, const char *name);
void *(*functions_real_dlvsym)(void *handle, const char *name, const char *version);

/* The stand-in for a function of a library that was opened; NULL: ask the real dlsym. `version` NULL: none is asked for. */
void *function_looked_up(void *handle, const char *name, const char *version)
    __attribute__((visibility("hidden")));

#if defined(__x86_64__)
#define STAND_IN(name, version, real)                                                                        \
    __asm__(".text\n"                                                                                        \
            ".globl " name "\n.hidden " name "\n.type " name ", @function\n" name ":\n"                      \
            "\t.cfi_startproc\n\tendbr64\n"                                                                  \
            "\tpushq %rdi\n\t.cfi_adjust_cfa_offset 8\n"                                                     \
            "\tpushq %rsi\n\t.cfi_adjust_cfa_offset 8\n"                                                     \
            "\tpushq %rdx\n\t.cfi_adjust_cfa_offset 8\n" version "\tcall function_looked_up\n"               \
            "\tpopq %rdx\n\t.cfi_adjust_cfa_offset -8\n"                                                     \
            "\tpopq %rsi\n\t.cfi_adjust_cfa_offset -8\n"                                                     \
            "\tpopq %rdi\n\t.cfi_adjust_cfa_offset -8\n"                                                     \
            "\ttestq %rax, %rax\n\tje 1f\n\tret\n"                                                           \
            "1:\tjmp *" real "(%rip)\n"                                                                      \
            "\t.cfi_endproc\n\t.size " name ", . - " name "\n")
STAND_IN("functions_dlsym", "\txorl %edx, %edx\n", "functions_real_dlsym");
STAND_IN("functions_dlvsym", "", "functions_real_dlvsym");
#elif defined(__aarch64__)
#define STAND_IN(name, version, real)                                                                        \
    __asm__(                                                                                                 \
        ".text\n"                                                                                            \
        ".globl " name "\n.hidden " name "\n.type " name ", %function\n" name ":\n"                          \
        "\t.cfi_startproc\n\thint #34\n" /* bti c */                                                         \
        "\tstp x29, x30, [sp, #-48]!\n\t.cfi_adjust_cfa_offset 48\n"                                         \
        "\t.cfi_rel_offset x29, 0\n\t.cfi_rel_offset x30, 8\n"                                               \
        "\tmov x29, sp\n\tstp x0, x1, [sp, #16]\n\tstr x2, [sp, #32]\n" version "\tbl function_looked_up\n"  \
        "\tmov x3, x0\n\tldp x0, x1, [sp, #16]\n\tldr x2, [sp, #32]\n"                                       \
        "\tldp x29, x30, [sp], #48\n\t.cfi_restore x29\n\t.cfi_restore x30\n\t.cfi_adjust_cfa_offset -48\n"  \
        "\tcbz x3, 1f\n\tmov x0, x3\n\tret\n"                                                                \
        "1:\tadrp x16, " real "\n\tldr x16, [x16, #:lo12:" real "]\n\tbr x16\n"                              \
        "\t.cfi_endproc\n\t.size " name ", . - " name "\n")
STAND_IN("functions_dlsym", "\tmov x2, xzr\n", "functions_real_dlsym");
STAND_IN("functions_dlvsym", "", "functions_real_dlvsym");
#else
const char functions_dlsym[1], functions_dlvsym[1]; /* nothing is patched here (functions/patch.c) */
#endif

static bool is_declared(const struct ruleset *rules, const char *name)
{
    for (uint32_t i = 0; i < rules->function_count; i++)
        if (strcmp(rules->functions[i].symbol, name) == 0)
            return true;
    return false;
}

void *function_looked_up(void *handle, const char *name, const char *version)
{
    if (handle == RTLD_DEFAULT || handle == RTLD_NEXT || !name)
        return NULL;
    int error = errno;
    struct visit visit;
    const struct ruleset *rules = rules_enter(&visit);
    if (!rules)
        return NULL;
    void *found = NULL;
    if (rules->function_count)
        functions_look(rules);
    if (is_declared(rules, name)) {
        errno = error;
        found = version ? functions_real_dlvsym(handle, name, version) : functions_real_dlsym(handle, name);
        for (uint32_t i = 0; found && i < rules->function_count; i++) {
            const struct binding *binding = binding_find(rules->functions[i].signature, (uintptr_t)found);
            if (!binding)
                continue;
            found = (void *)binding->code;
            break;
        }
        error = errno;
    }
    rules_leave(&visit);
    errno = error;
    return found;
}
