/* The way into a wait, and out of it where nothing is pending: the ten instructions that a program pays for each.
 *
 * It is written down for the processor because of the three arguments that a look afterwards may need: to put them on the
 * stack takes one instruction each, which no compiler comes up with for what it may not need. In C it reads
 *
 *     if (pending_concerns(timeout))
 *         return NAME_for_a_time(...);
 *     struct NAME_call call = {first, second, timeout};
 *     int ready = real.NAME(...);
 *     return pending_is_busy() ? NAME_seen(&call, ready) : ready;
 *
 * and that is what it is where WAIT_ENTRY is not defined. */
#ifndef HOOKS_WAIT_ENTRY_H
#define HOOKS_WAIT_ENTRY_H

#include <stddef.h>

#include "hooks/export.h"
#include "hooks/real.h"
#include "state/pending.h"

#if defined __x86_64__ && defined __LP64__ && !defined __SANITIZE_THREAD__

/* The body of the wait of that name. `first` and `second` name registers of 64 bits, `timeout` the last two letters of one. */
#define WAIT_ENTRY(name, first, second, timeout)                                                             \
    __asm__("cmpl pending_busy(%%rip), %%e" timeout "\n"                                                     \
            "jge " #name "_for_a_time\n"                                                                     \
            "pushq %%r" timeout "\n"                                                                         \
            ".cfi_adjust_cfa_offset 8\n"                                                                     \
            "pushq %%" second "\n"                                                                           \
            ".cfi_adjust_cfa_offset 8\n"                                                                     \
            "pushq %%" first "\n"                                                                            \
            ".cfi_adjust_cfa_offset 8\n"                                                                     \
            "call *real+%c0(%%rip)\n"                                                                        \
            "cmpl %1, pending_busy(%%rip)\n"                                                                 \
            "jne 1f\n"                                                                                       \
            "addq $24, %%rsp\n"                                                                              \
            ".cfi_adjust_cfa_offset -24\n"                                                                   \
            "ret\n"                                                                                          \
            ".cfi_adjust_cfa_offset 24\n"                                                                    \
            "1: movq %%rsp, %%rdi\n"                                                                         \
            "movl %%eax, %%esi\n"                                                                            \
            "call " #name "_seen\n"                                                                          \
            "addq $24, %%rsp\n"                                                                              \
            ".cfi_adjust_cfa_offset -24\n"                                                                   \
            "ret\n"                                                                                          \
            :                                                                                                \
            : "i"(offsetof(struct real, name)), "i"(PENDING_CALM))
#define ENTERED __attribute__((naked))
#pragma GCC diagnostic ignored "-Wunused-parameter" /* they are the registers' */
#else
#define ENTERED
#endif

/* What it leads to, which the compiler does not see. */
#define LED_TO __attribute__((used, noinline))

#endif
