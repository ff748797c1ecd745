/* When does a name fail that has several addresses?
 *
 * One address failing is the address's affair. The name fails when every address of its current answer has failed, with
 * no success between; any success counts for it. A call that tries them all in turn says so at once; one that tries a
 * part (a single attempt, one family of two) leaves a mark, and the one that completes the set is the name's failure.
 *
 * Not every program goes on to the other addresses. Where none has for as long as an attempt may take, nobody is going
 * to, and what was tried is all that the name is to those who call it.
 *
 * No atomics here: who keeps the word (state/breakers.c) publishes the new one by compare-and-swap and asks again if it
 * lost. The word 0 has seen nothing, and is what a success leaves behind. Any word is a good word. */
#ifndef POLICY_ADDRESSES_H
#define POLICY_ADDRESSES_H

#include "policy/breaker.h"

#define ADDRESSES_MAX 16u /* told apart; those beyond share the last mark */

struct addresses_tried {
    uint16_t identity;   /* of the current answer: marks of another one mean nothing */
    uint16_t all, tried; /* a bit for each address of the answer, and for those that this call has tried */
    bool is_ours; /* they could not be tried from here (no route): hope is lost, but it is not their fault */
    bool is_probe;
    uint64_t begun_ns;   /* when the call began */
    uint64_t attempt_ns; /* what an attempt may take, with its answer */
};

struct addresses_answer {
    uint64_t word;              /* to be published; equal to the one given when nothing changed */
    enum breaker_report report; /* FAILURE: the name's; NEUTRAL: the address's affair */
};

/* A call has failed at some addresses at `now_ns`. */
struct addresses_answer addresses_failed(uint64_t word, const struct addresses_tried *tried, uint64_t now_ns);

#endif
