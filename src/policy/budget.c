#include "policy/budget.h"

#include "policy/random.h"

#define NS_PER_US 1000u

bool budget_allows(const struct budget_params *params, struct window_sum total)
{
    if (params->window_ns == 0)
        return true;
    /* In millionths of a retry, which makes the ratio a plain factor and the floor one retry per second and us. */
    uint64_t spent = (uint64_t)total.marked * PPM_ONE;
    uint64_t earned = (uint64_t)total.events * params->ratio_ppm;
    if (spent < earned)
        return true;
    uint64_t floor;
    if (__builtin_mul_overflow(params->window_ns / NS_PER_US, params->floor_per_s, &floor))
        return true;
    return spent - earned < floor;
}
