/* The retry budget: retries may not exceed a share of the calls of the last while, plus a floor. */
#ifndef POLICY_BUDGET_H
#define POLICY_BUDGET_H

#include <stdbool.h>

#include "policy/window.h"

struct budget_params {
    uint32_t ratio_ppm;   /* retries per call */
    uint32_t floor_per_s; /* retries a second that are always allowed */
    uint64_t window_ns;   /* 0: no budget, every retry is allowed */
};

/* May one more retry happen, with `total` (events = calls, marked = retries) in the window? */
bool budget_allows(const struct budget_params *params, struct window_sum total);

#endif
