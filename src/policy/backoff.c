#include "policy/backoff.h"

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* value x ratio_ppm / PPM_ONE, or UINT64_MAX where that does not fit. */
static uint64_t scaled(uint64_t value, uint32_t ratio_ppm)
{
    uint64_t whole;
    uint64_t rest = value % PPM_ONE * ratio_ppm / PPM_ONE;
    if (__builtin_mul_overflow(value / PPM_ONE, ratio_ppm, &whole) || whole > UINT64_MAX - rest)
        return UINT64_MAX;
    return whole + rest;
}

static uint64_t grown(uint64_t base_ns, uint32_t factor_ppm, uint32_t retry, uint64_t max_ns)
{
    uint64_t delay_ns = base_ns;
    for (uint32_t i = 1; i < retry && delay_ns < max_ns; i++) {
        uint64_t next_ns = scaled(delay_ns, factor_ppm);
        if (next_ns <= delay_ns) /* A factor of 1, or too small a step: it would only go round. */
            break;
        delay_ns = next_ns;
    }
    return min(delay_ns, max_ns);
}

static uint64_t decorrelated(uint64_t base_ns, uint64_t max_ns, uint64_t previous_ns, struct random *random)
{
    uint64_t end_ns;
    uint64_t from_ns = min(base_ns, max_ns);
    if (previous_ns < base_ns)
        previous_ns = base_ns;
    if (__builtin_mul_overflow(previous_ns, 3, &end_ns))
        end_ns = UINT64_MAX;
    /* The range is cut, not the number drawn from it, or most delays at the maximum would be the same. */
    end_ns = min(end_ns, max_ns);
    return from_ns + random_below(random, end_ns - from_ns);
}

uint64_t backoff_delay(const struct backoff_params *params, uint32_t retry, uint64_t previous_ns,
                       struct random *random)
{
    uint64_t max_ns = params->max_delay_ns ? params->max_delay_ns : UINT64_MAX;
    uint64_t delay_ns = grown(params->base_delay_ns, params->factor_ppm, retry, max_ns);
    switch (params->jitter) {
    case JITTER_FULL:
        return random_below(random, delay_ns);
    case JITTER_EQUAL:
        return delay_ns / 2 + random_below(random, delay_ns - delay_ns / 2);
    case JITTER_DECORRELATED:
        return decorrelated(params->base_delay_ns, max_ns, previous_ns, random);
    case JITTER_NONE:
        break;
    }
    return delay_ns;
}
