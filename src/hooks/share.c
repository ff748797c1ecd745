/* Children that share their parent's memory: process_owns_memory has to ask from the first of them on (state/process.h).
 * libc's own, which it makes to start programs, call none of our hooks. */
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>

#include "base/hidden.h"
#include "hooks/export.h"
#include "state/process.h"

#ifdef PROCESS_SEES_SHARING

static int absent(void)
{
    errno = ENOSYS;
    return -1;
}

/* What the hook below goes on with. It is not called from C: the child would return into a frame that is gone when its parent
 * comes to use it. */
void *share_vfork(void) __attribute__((used)) HIDDEN;
void *share_vfork(void)
{
    static void *found;
    int error = errno;
    void *real_vfork = __atomic_load_n(&found, __ATOMIC_RELAXED);
    if (!real_vfork) {
        real_vfork = dlsym(RTLD_NEXT, "vfork");
        __atomic_store_n(&found, real_vfork, __ATOMIC_RELAXED);
    }
    process_shares();
    errno = error;
    return real_vfork ? real_vfork : (void *)absent;
}

__asm__(".pushsection .text\n"
        ".globl vfork\n"
        ".globl __vfork\n"
        ".type vfork, %function\n"
        ".type __vfork, %function\n"
        "vfork:\n"
        "__vfork:\n"
        ".cfi_startproc\n"
#ifdef __x86_64__
        "subq $8, %rsp\n"
        ".cfi_adjust_cfa_offset 8\n"
        "call share_vfork\n"
        "addq $8, %rsp\n"
        ".cfi_adjust_cfa_offset -8\n"
        "jmp *%rax\n"
#else
        "stp x29, x30, [sp, -16]!\n"
        ".cfi_adjust_cfa_offset 16\n"
        ".cfi_offset 30, -8\n"
        "bl share_vfork\n"
        "ldp x29, x30, [sp], 16\n"
        ".cfi_restore 30\n"
        ".cfi_adjust_cfa_offset -16\n"
        "mov x16, x0\n"
        "br x16\n"
#endif
        ".cfi_endproc\n"
        ".size vfork, . - vfork\n"
        ".size __vfork, . - __vfork\n"
        ".popsection\n");

/* Its child begins on a stack of its own. */
EXPORT int clone(int (*begin)(void *argument), void *stack, int flags, void *argument, ...)
{
    static int (*found)(int (*begin)(void *), void *stack, int flags, void *argument, ...);
    va_list rest;
    va_start(rest, argument);
    void *more[3];
    for (unsigned i = 0; i < 3; i++)
        more[i] = va_arg(rest, void *);
    va_end(rest);
    if (!__atomic_load_n(&found, __ATOMIC_RELAXED))
        __atomic_store_n((void **)&found, dlsym(RTLD_NEXT, "clone"), __ATOMIC_RELAXED);
    if ((flags & (CLONE_VM | CLONE_THREAD)) == CLONE_VM)
        process_shares();
    return found ? found(begin, stack, flags, argument, more[0], more[1], more[2]) : absent();
}

#endif
