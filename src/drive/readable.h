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
static inline bool is_readable(const void *address, size_t size)
{
    return (uintptr_t)address - (uintptr_t)__builtin_frame_address(0) < CALLERS_STACK ||
           readable_ask(address, size);
}

#endif
