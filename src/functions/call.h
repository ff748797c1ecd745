/* A call of a declared function while it lasts. */
#ifndef FUNCTIONS_CALL_H
#define FUNCTIONS_CALL_H

#include "functions/binding.h"
#include "policy/call.h"
#include "state/breakers.h"
#include "state/limits.h"

struct calling {
    struct binding *binding;
    const struct function *function;
    void *result, **arguments; /* as libffi has them */
    struct host_handle host;
    struct breaker_ticket ticket;
    enum breaker_verdict verdict;
    struct limit_handle limit;
    bool has_place;
    bool is_shadow; /* what is decided is recorded, not carried out */
    uint64_t begun_ns;
    uintptr_t caller; /* where in the program it is made; 0: not known */
    int error_before; /* errno as the program had it */
    int error;        /* as the last attempt left it */
    struct target target;
    char name[160]; /* of the target: "PQconnectdb db.internal" */
    char text[60];  /* the target for events, once call_text was asked */
};

/* call.c. Signal handlers run, and then it goes on; the thread is not cancelled where its own call might not have been. */
void call_wait(uint64_t until_ns);

/* target.c */
void call_find_host(struct calling *call);
const char *call_text(struct calling *call);

/* attempt.c: the real function, and what is declared to be done with what it returns. */
void call_attempt(struct calling *call);
bool call_has_failed(const struct calling *call); /* the last attempt */
void call_clean_up(const struct calling *call);
void call_give_default(const struct calling *call);

/* fault.c: is this attempt one that fails on purpose? Told, then. */
bool call_meets_fault(struct calling *call);

/* admit.c. False: it is rejected, and told; nothing is to be called. */
bool call_admit(struct calling *call);
void call_leave(struct calling *call); /* gives its place back */

#endif
