#include "drive/readable.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KERNEL_SIGNAL_SET 8u
#define PAGE_BYTES        4096u

static uintptr_t known_page; /* in the heap, and found to be there; 0: none */

static __attribute__((noinline)) bool ask(uintptr_t first, size_t size, uintptr_t page);
static bool is_below_its_end(uintptr_t page);

bool readable_ask(const void *address, size_t size)
{
    uintptr_t first = (uintptr_t)address, page = first & ~(uintptr_t)(PAGE_BYTES - 1);
    if (!address)
        return false; /* the kernel takes it for no set at all */
    if (size < KERNEL_SIGNAL_SET)
        size = KERNEL_SIGNAL_SET;
    bool is_one_page = first / PAGE_BYTES == (first + size - 1) / PAGE_BYTES; /* a wild one may wrap around */
    bool is_known = page && page == __atomic_load_n(&known_page, __ATOMIC_RELAXED);
    if (is_known && is_one_page && is_below_its_end(page))
        return true;
    return ask(first, size, is_one_page ? page : 0);
}

/* The kernel reads a signal set of 8 bytes before it finds that nothing is to be done with it. `page`: all of it is there. */
static bool ask(uintptr_t first, size_t size, uintptr_t page)
{
    int error = errno;
    uintptr_t last = first + size - KERNEL_SIGNAL_SET;
    bool is_mapped = true;
    for (uintptr_t at = page ? last : first; is_mapped; at = last) {
        is_mapped = syscall(SYS_rt_sigprocmask, ~0, at, NULL, KERNEL_SIGNAL_SET) == 0 || errno != EFAULT;
        if (at == last)
            break;
    }
    /* Programs that connect often give the same address from the same place, and what is in the heap stays: it has no holes, and
     * only its end moves, which libc knows. */
    if (is_mapped && page > getauxval(AT_PHDR) && is_below_its_end(page))
        __atomic_store_n(&known_page, page, __ATOMIC_RELAXED);
    errno = error;
    return is_mapped;
}

static bool is_below_its_end(uintptr_t page)
{
    return page + PAGE_BYTES <= (uintptr_t)sbrk(0);
}
