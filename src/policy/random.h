/* Random numbers for decisions: small, seedable, with no global state (splitmix64). */
#ifndef POLICY_RANDOM_H
#define POLICY_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

#define PPM_ONE 1000000u /* a ratio of 100 %, in parts per million */

struct random {
    uint64_t state; /* any value is a good seed */
};

uint64_t random_next(struct random *random);

/* Uniform in [0, bound); 0 when `bound` is 0. */
uint64_t random_below(struct random *random, uint64_t bound);

/* True with probability `ratio_ppm`; always at PPM_ONE and above, never at 0. */
bool random_chance(struct random *random, uint32_t ratio_ppm);

#endif
