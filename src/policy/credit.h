/* "Already retried" credits: a program that walks through the addresses of a name, or connects twice, must not pay for
 * retries times addresses. A call that failed after retries leaves credits on its target; each later connect call to it
 * uses one up and gets a single attempt.
 *
 * A word belongs to one target. No atomics here; the word 0 holds nothing. */
#ifndef POLICY_CREDIT_H
#define POLICY_CREDIT_H

#include <stdbool.h>

#include "policy/call.h"

/* How many a call leaves that has ended; `addresses` is how many are known of its target. A call with one attempt, one
 * that succeeded or was rejected leaves none. */
uint32_t credit_earned(const struct call *call, uint32_t addresses);

/* The word of a target with that key after so many were left for `lasting_ns` (the call's total; 0 = a minute). Those
 * that it held before are replaced, never added to. */
uint64_t credit_left(uint64_t key, uint32_t count, uint64_t lasting_ns, uint64_t now_ns);

struct credit_answer {
    uint64_t word; /* to be published by compare-and-swap */
    bool is_used;  /* this call is a single attempt, without siblings */
};

/* A call to the target with that key begins. */
struct credit_answer credit_use(uint64_t word, uint64_t key, uint64_t now_ns);

/* For how much longer the word holds anything, in no particular unit; 0: it does not. And is it that target's? */
uint32_t credit_lasting(uint64_t word, uint64_t now_ns);
bool credit_is_for(uint64_t word, uint64_t key);

#endif
