#include "drive/readable.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KERNEL_SIGNAL_SET 8u
#define PAGE_BYTES        4096u

static uintptr_t known_page; /* in the heap, and found to be there */

static bool is_in_heap(uintptr_t page);

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
    bool is_mapped = true, is_one_page = first / PAGE_BYTES == (first + size - 1) / PAGE_BYTES;
    uintptr_t page = first & ~(uintptr_t)(PAGE_BYTES - 1);
    if (is_one_page && page == __atomic_load_n(&known_page, __ATOMIC_RELAXED) && is_in_heap(page))
        return true;
    for (uintptr_t at = is_one_page ? last : first; is_mapped; at = last) {
        is_mapped = syscall(SYS_rt_sigprocmask, ~0, at, NULL, KERNEL_SIGNAL_SET) == 0 || errno != EFAULT;
        if (at == last)
            break;
    }
    if (is_mapped && is_one_page && is_in_heap(page))
        __atomic_store_n(&known_page, page, __ATOMIC_RELAXED);
    errno = error;
    return is_mapped;
}

/* Programs that connect often give the same address from the same place, and what is in the heap stays: it has no holes, and
 * only its end moves, which libc knows. */
static bool is_in_heap(uintptr_t page)
{
    return page > getauxval(AT_PHDR) && page + PAGE_BYTES <= (uintptr_t)sbrk(0);
}
