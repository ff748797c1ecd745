#include "drive/readable.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KERNEL_SIGNAL_SET 8u
#define PAGE_BYTES        4096u

bool readable_ask(const void *address, size_t size)
{
    uintptr_t first = (uintptr_t)address;
    if (!address)
        return false; /* the kernel takes it for no set at all */
    if (size < KERNEL_SIGNAL_SET)
        size = KERNEL_SIGNAL_SET;
    /* It reads a signal set of 8 bytes before it finds that nothing is to be done with it. */
    int error = errno;
    uintptr_t last = first + size - KERNEL_SIGNAL_SET;
    bool is_mapped = true, is_one_page = first / PAGE_BYTES == last / PAGE_BYTES;
    for (uintptr_t at = is_one_page ? last : first; is_mapped; at = last) {
        is_mapped = syscall(SYS_rt_sigprocmask, ~0, at, NULL, KERNEL_SIGNAL_SET) == 0 || errno != EFAULT;
        if (at == last)
            break;
    }
    errno = error;
    return is_mapped;
}
