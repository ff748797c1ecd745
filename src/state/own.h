/* Words that only this process has, unlike those of the shared segment: changed in one instruction, which is locked only where
 * there are several threads. While there is one, nothing comes in between but a signal, and that never into the middle of an
 * instruction; and just after a system call a locked one waits for all that the kernel has written.
 *
 * The order is that of memory_order_seq_cst. */
#ifndef STATE_OWN_H
#define STATE_OWN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "state/alone.h"

#if defined __x86_64__ && defined __LP64__ && !defined __SANITIZE_THREAD__
#define OWN_REPLACE(word, expected, wanted)                                                                  \
    if (process_is_alone()) {                                                                                \
        bool is_replaced;                                                                                    \
        __asm__ volatile("cmpxchg %3, %1"                                                                    \
                         : "=@ccz"(is_replaced), "+m"(*(word)), "+a"(*(expected))                            \
                         : "r"(wanted)                                                                       \
                         : "memory");                                                                        \
        return is_replaced;                                                                                  \
    }
#define OWN_ADD(word, by)                                                                                    \
    if (process_is_alone()) {                                                                                \
        __asm__ volatile("addl %1, %0" : "+m"(*(word)) : "ir"(by) : "memory", "cc");                         \
        return;                                                                                              \
    }
#else
#define OWN_REPLACE(word, expected, wanted)
#define OWN_ADD(word, by)
#endif

/* What is taken away is added as its complement. */
static inline void own_add(_Atomic uint32_t *word, uint32_t by)
{
    OWN_ADD(word, by)
    atomic_fetch_add(word, by);
}

/* As atomic_compare_exchange_strong. */
static inline bool own_replace_16(uint16_t *word, uint16_t *expected, uint16_t wanted)
{
    OWN_REPLACE(word, expected, wanted)
    return __atomic_compare_exchange_n(word, expected, wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline bool own_replace_32(_Atomic uint32_t *word, uint32_t *expected, uint32_t wanted)
{
    OWN_REPLACE(word, expected, wanted)
    return atomic_compare_exchange_strong(word, expected, wanted);
}

static inline bool own_replace_64(_Atomic uint64_t *word, uint64_t *expected, uint64_t wanted)
{
    OWN_REPLACE(word, expected, wanted)
    return atomic_compare_exchange_strong(word, expected, wanted);
}

static inline bool own_replace_pointer(void **place, void **expected, void *wanted)
{
    OWN_REPLACE(place, expected, wanted)
    return __atomic_compare_exchange_n(place, expected, wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Counts one more; the number of it, from 1 on. */
static inline uint32_t own_count_32(_Atomic uint32_t *word)
{
    uint32_t before = atomic_load_explicit(word, memory_order_relaxed);
    while (!own_replace_32(word, &before, before + 1))
        ;
    return before + 1;
}

static inline uint64_t own_count_64(_Atomic uint64_t *word)
{
    uint64_t before = atomic_load_explicit(word, memory_order_relaxed);
    while (!own_replace_64(word, &before, before + 1))
        ;
    return before + 1;
}

static inline void own_store_32(_Atomic uint32_t *word, uint32_t value)
{
    if (process_is_alone())
        atomic_store_explicit(word, value, memory_order_release);
    else
        atomic_store(word, value);
}

#endif
