/* One call under policy: breaker, retry and timeout in their order.
 *
 *     circuit breaker -> retry -> timeout -> the real attempt
 *
 * A driver asks what to do, does it, and says what came of it:
 *
 *     step = call_begin(...)
 *     ATTEMPT until T   make one attempt at `address`; give it up at T -> call_ended, or call_due at T
 *     WAIT until T      a retry comes next: ask the budget (call_denied if it refuses), wait -> call_due at T
 *     DONE              tell the program, and the breaker
 *
 * A name may have several addresses. The program chose one; when it fails its siblings are tried at once, without a
 * wait and without counting as retries: a host is down when all its addresses are. Such a round over the addresses is
 * what max_retries counts, and what a wait lies between.
 *
 * Nothing here blocks, allocates, reads a clock or fails. What is said at the wrong moment (call_ended while waiting,
 * call_denied or call_interrupted during an attempt, anything after DONE) changes nothing and is answered by the step that is going on. */
#ifndef POLICY_CALL_H
#define POLICY_CALL_H

#include "policy/backoff.h"
#include "policy/breaker.h"
#include "policy/outcome.h"

#define NEVER UINT64_MAX /* a time that does not come */

#define CALL_SIBLINGS_MAX 16u

struct call_params {
    uint64_t attempt_timeout_ns; /* one attempt; 0 = no bound */
    uint64_t total_ns;           /* attempts and waits together; 0 = no bound */
    uint32_t max_retries;        /* rounds after the first; 0 = one attempt at each address */
    uint32_t siblings; /* addresses besides the program's own; more than CALL_SIBLINGS_MAX are not used */
    uint32_t retry_on; /* mask of OUTCOME_BIT */
    struct backoff_params backoff;
    int rejected_error; /* what a rejected call returns */
    int timeout_error;  /* what an attempt that was cut short returns */
};

enum call_action { CALL_ATTEMPT, CALL_WAIT, CALL_DONE };

enum call_ending {
    CALL_SUCCEEDED,
    CALL_FAILED,   /* not retried, or retries, time or budget are used up: `why` says which */
    CALL_REJECTED, /* by the breaker: nothing was attempted */
};

enum call_why {
    CALL_NOT_RETRYABLE,
    CALL_RETRIES_USED_UP,
    CALL_TIME_USED_UP, /* the next attempt would begin after `total` */
    CALL_BUDGET_USED_UP,
    CALL_PROBE_FAILED, /* a probe is one attempt */
    CALL_INTERRUPTED,  /* the caller could wait no longer: a signal */
};

struct call_step {
    enum call_action action;
    uint64_t until_ns;    /* ATTEMPT: when to give up; WAIT: when to go on. NEVER = no bound */
    uint32_t address;     /* of this attempt, or of the last one: 0 = the program's own, 1.. = its siblings */
    enum outcome outcome; /* of the last attempt that ended; OUTCOME_OURS for a rejected call */
    int error;            /* DONE: what the program gets; 0 on success. WAIT: that of the last attempt */
    /* The rest is for DONE. */
    enum call_ending ending;
    enum call_why why; /* for CALL_FAILED */
};

struct call {
    struct call_params params;
    struct random random;
    uint64_t begun_ns;
    uint64_t due_ns; /* of the step that is going on */
    uint64_t previous_delay_ns;
    uint32_t attempts;       /* begun so far */
    uint32_t rounds;         /* likewise; without siblings each attempt is one */
    uint32_t address;        /* of the last attempt */
    enum call_action action; /* the step that is going on */
    enum outcome last_outcome;
    int last_error;
    enum call_ending ending; /* with action CALL_DONE, as in struct call_step */
    enum call_why why;
    bool is_probe;
};

/* Begins a call to which the breaker has said `verdict` (BREAKER_ADMIT where there is none). */
struct call_step call_begin(struct call *call, const struct call_params *params, enum breaker_verdict verdict,
                            uint64_t seed, uint64_t now_ns);

/* The attempt that was going on ended by itself, with `error` (0 on success). */
struct call_step call_ended(struct call *call, enum outcome outcome, int error, uint64_t now_ns);

/* The time of the step has come: the attempt was given up (OUTCOME_TIMEOUT, timeout_error), or the wait is over.
 * Too early, it changes nothing and repeats the step. */
struct call_step call_due(struct call *call, uint64_t now_ns);

/* The retry that the last step waits for may not happen: the budget is used up. */
struct call_step call_denied(struct call *call);

/* Nothing more may be begun, though retries, time and budget are left. */
struct call_step call_interrupted(struct call *call);

/* What a call that ended so says to the breaker. A step that is not DONE (the call was abandoned) is neutral. */
enum breaker_report call_report(const struct call_step *done);

#endif
