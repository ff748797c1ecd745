/* A wild pointer is a mistake that the kernel answers with EFAULT; we must not fall over it. */
#ifndef DRIVE_READABLE_H
#define DRIVE_READABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CALLERS_STACK 8192u

/* Can so many bytes (a page at most) be read there? What lies a little above the caller's frame is taken to be the
 * program's stack; about anything else the kernel is asked. errno is untouched. */
bool readable_ask(const void *address, size_t size);
static inline bool is_on_stack(const void *address)
{
#ifdef __x86_64__
    uintptr_t top; /* asked for as a frame's address it would need a frame */
    __asm__("movq %%rsp, %0" : "=r"(top));
#else
    uintptr_t top = (uintptr_t)__builtin_frame_address(0);
#endif
    return (uintptr_t)address - top < CALLERS_STACK;
}
static inline bool is_readable(const void *address, size_t size)
{
    return is_on_stack(address) || readable_ask(address, size);
}

#endif
