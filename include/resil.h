/* What a program can ask libresil, if it wants to know: optional, and it works without.
 *
 * A program that is degraded (`degrade:` in a rule) need not notice: it is connected, and gets an answer. One that includes
 * this header can tell its user, or put "cached" on a page. Nothing has to be linked: all functions are weak, so the same
 * program runs with and without libresil. Without it they are NULL, and must not be called:
 *
 *     if (resil_degraded && resil_degraded(fd))
 *         puts("served by a fallback");
 *
 * They may be called by any thread at any time, in signal handlers too; they make at most one system call and do not wait.
 * errno is untouched. */
#ifndef RESIL_H
#define RESIL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What has served a call, from best to worst. The numbers stay what they are. */
enum resil_rung {
    RESIL_FULL = 0,      /* what was asked for */
    RESIL_HOST = 1,      /* a connect: a fallback host */
    RESIL_STALE = 2,     /* a lookup: the last good answer */
    RESIL_RESPOND = 3,   /* a connect: a canned answer */
    RESIL_ADDRESSES = 4, /* a lookup: addresses of the rule */
    RESIL_ERROR = 5      /* nothing could serve it: it has failed */
};

/* Who serves the connection of that descriptor: RESIL_HOST or RESIL_RESPOND. RESIL_FULL for every other one, for what is no
 * connection and what is no descriptor. Copies of a descriptor (dup, fork) say the same; after exec it is forgotten. */
int resil_degraded(int fd) __attribute__((weak));

/* The last decision of the calling thread, of those about calls under a rule with `degrade:`. */
struct resil_decision {
    uint32_t rung;   /* enum resil_rung */
    uint32_t number; /* which entry of the rule's `degrade:`, from 1; 0 for RESIL_FULL and RESIL_ERROR */
    int32_t
        error; /* what went wrong with what was asked for: errno, or for a lookup the EAI code; 0: nothing */
    uint32_t is_lookup; /* 1: a lookup; 0: a connect */
    uint64_t age_ms;    /* RESIL_STALE: how old the answer is; else 0 */
    char rule[64];      /* the rule's name */
};

/* Fills in the first `size` bytes of it (sizeof *decision: later versions may have more fields at the end). Returns 0, or
 * -1 when there was no such call yet. In event loops a connect is decided by the thread whose wait finds out about it. */
int resil_last(struct resil_decision *decision, size_t size) __attribute__((weak));

#ifdef __cplusplus
}
#endif

#endif
