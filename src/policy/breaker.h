/* The circuit breaker, as a function from one packed word to the next.
 *
 * closed --failures--> open --recovery_timeout--> half-open --success_threshold successes--> closed
 *                        ^                            |
 *                        +---- a failed probe --------+     (and each time it stays open longer)
 *
 * No atomics here: who shares the word (state/breakers.c) publishes the new one by compare-and-swap and asks again
 * if it lost. The word 0 is a closed breaker that has seen nothing. Times are CLOCK_MONOTONIC nanoseconds; in the
 * word they are whole milliseconds, rounded up, of which it keeps 37 bits.
 *
 * Any word is a good word: a damaged one rejects for at most the longest open time (or lease) and a minute. */
#ifndef POLICY_BREAKER_H
#define POLICY_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/random.h"
#include "policy/window.h"

enum breaker_state {
    BREAKER_CLOSED,
    BREAKER_OPEN,
    BREAKER_HALF_OPEN,
};

struct breaker_params {
    uint32_t failure_threshold; /* failures in a row that open it, at most 255; 0: not judged by these */
    uint32_t failure_ratio_ppm; /* share of failed calls in the window that opens it; 0: not judged by this */
    uint32_t minimum_calls;     /* ... once the window holds this many */
    uint64_t window_ns;
    uint64_t recovery_timeout_ns;     /* how long it stays open at first */
    uint64_t max_recovery_timeout_ns; /* the open time doubles up to here while probes keep failing */
    uint32_t jitter_ppm; /* the open time is up to this share longer (at most PPM_ONE), within the maximum */
    uint32_t success_threshold; /* successful probes in a row that close it, at most 255 */
    uint64_t lease_ns;          /* after this long without a report a probe counts as lost */
};

enum breaker_verdict {
    BREAKER_ADMIT,  /* go ahead */
    BREAKER_PROBE,  /* go ahead, alone, and report before the lease ends */
    BREAKER_REJECT, /* fail with the rule's error */
};

/* What an admitted call hands back with its outcome. */
struct breaker_ticket {
    uint16_t generation; /* the word's at admission; an outcome of an older one never moves the state */
    bool is_probe;
};

struct breaker_answer {
    uint64_t word; /* to be published; equal to the one given when nothing changed */
    enum breaker_verdict verdict;
    struct breaker_ticket ticket; /* for ADMIT and PROBE */
    uint64_t until_ns;            /* for REJECT: when it is worth asking again */
};

/* Asks to let one call through at `now_ns`. Half-open admits one probe at a time. */
struct breaker_answer breaker_admit(uint64_t word, const struct breaker_params *params, uint64_t now_ns);

/* Until when an open circuit rejects; 0: it is not open, or its time has come, and breaker_admit is to be asked. This is
 * what is asked most often while a host is down. */
uint64_t breaker_open_until(uint64_t word, const struct breaker_params *params, uint64_t now_ns);

enum breaker_report {
    BREAKER_SUCCESS,
    BREAKER_FAILURE,
    BREAKER_NEUTRAL, /* nothing was learnt; a probe is given back and another call may take its place at once */
};

enum breaker_transition {
    BREAKER_STAYED,
    BREAKER_OPENED,   /* from closed */
    BREAKER_REOPENED, /* the probe failed */
    BREAKER_RECOVERED /* the probe succeeded: closed. The caller empties the failure-rate window, or the failures from
                       * before the opening would open it again at the first new one */
};

struct breaker_change {
    uint64_t word;
    enum breaker_transition transition;
    uint64_t until_ns; /* after OPENED and REOPENED: when a probe will be admitted */
};

/* Reports what became of an admitted call. `recent` is what the failure-rate window holds, this call included
 * (read only where failure_ratio_ppm is set). */
struct breaker_change breaker_ended(uint64_t word, const struct breaker_params *params,
                                    struct breaker_ticket ticket, enum breaker_report report,
                                    struct window_sum recent, uint64_t now_ns, struct random *random);

/* Closed and empty, whatever it was: what was under way when it was reset moves nothing any more. The caller empties the
 * failure-rate window. */
uint64_t breaker_reset(uint64_t word);

/* Is it closed? Then it admits every call. */
bool breaker_is_closed(uint64_t word);

/* And has nothing failed either? Then a success changes nothing. */
bool breaker_is_unharmed(uint64_t word);

/* For people and tests. */
struct breaker_view {
    enum breaker_state state;
    uint32_t failures;  /* in a row, while closed */
    uint32_t successes; /* of probes, while half-open */
    uint32_t openings;  /* in a row without a recovery */
    uint16_t generation;
    uint64_t until_ns; /* open: end of the open time; half-open: end of the probe's lease, 0 = no probe out.
                        * Without the multiples of four years that the word does not keep */
};
struct breaker_view breaker_view(uint64_t word);

/* "closed", "open", "half-open". */
const char *breaker_state_name(enum breaker_state state);

#endif
