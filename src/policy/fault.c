#include "policy/fault.h"

#include <errno.h>

#include "base/hash.h"

#define NS_PER_S UINT64_C(1000000000)
#define STEP     UINT64_C(0x9e3779b97f4a7c15)

static bool is_drawn(uint64_t key, uint64_t number, uint32_t ratio_ppm);
static uint64_t probability_ppm(const struct fault_params *params, uint64_t running_ns);
static bool is_in_burst(const struct fault_params *params, uint64_t running_ns);
static uint64_t uniform(const struct fault_params *params, uint64_t drawn);
static uint64_t normal(const struct fault_params *params, uint64_t drawn);
static uint64_t pareto(const struct fault_params *params, uint64_t drawn);
static uint64_t cube_root(unsigned __int128 of);
static uint64_t scaled(uint64_t value, uint64_t by, uint64_t of);

/* For what is drawn once it fires: that is another question than whether it does, and has numbers of its own. */
static struct random random_of(const struct fault_moment *moment)
{
    return (struct random){hash_mix(moment->key + moment->number * STEP)};
}

uint64_t fault_key(const struct fault_params *params, uint64_t seed, uint64_t process, uint64_t target,
                   uint64_t connection)
{
    const uint64_t words[] = {params->has_seed ? params->seed : seed, params->identity, process, target,
                              connection};
    return hash_bytes(words, sizeof words, 0);
}

bool fault_fires(const struct fault_params *params, const struct fault_moment *moment)
{
    uint64_t ordinal = moment->ordinal + 1;
    if (ordinal <= params->after)
        return false;
    ordinal -= params->after;
    if ((params->nth && ordinal != params->nth) || (params->every && ordinal % params->every))
        return false;
    uint64_t ppm = params->probability_ppm;
    if (params->has_schedule) {
        if (!fault_is_on(params, moment->running_ns))
            return false;
        ppm = probability_ppm(params, moment->running_ns);
    }
    return ppm >= PPM_ONE || is_drawn(moment->key, moment->number, (uint32_t)ppm);
}

/* splitmix64, as in random.c, written out: this is asked for every call. Each number of it decides about two operations. */
static inline uint64_t mixed(uint64_t state)
{
    state = (state ^ (state >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    state = (state ^ (state >> 27)) * UINT64_C(0x94d049bb133111eb);
    return state ^ (state >> 31);
}

static inline uint64_t state_of(uint64_t key, uint64_t number)
{
    return key + (number / 2 + 1) * STEP;
}

static inline uint64_t limit_of(uint32_t ratio_ppm)
{
    return ((uint64_t)ratio_ppm << 32) / PPM_ONE;
}

static bool is_drawn(uint64_t key, uint64_t number, uint32_t ratio_ppm)
{
    uint64_t two = mixed(state_of(key, number));
    return (number & 1 ? two >> 32 : two & UINT32_MAX) < limit_of(ratio_ppm);
}

uint32_t fault_quiet(const struct fault_params *params, uint64_t key, uint64_t number, uint32_t most)
{
    uint32_t quiet = 0, ratio_ppm = params->probability_ppm;
    uint64_t limit = limit_of(ratio_ppm);
    if (most && number & 1 && !is_drawn(key, number, ratio_ppm))
        quiet++;
    else if (number & 1)
        return 0;
    uint64_t state = state_of(key, number + quiet);
    for (; quiet + 2 <= most; quiet += 2, state += STEP) {
        uint64_t two = mixed(state);
        if ((uint32_t)two < limit || two >> 32 < limit)
            break;
    }
    while (quiet < most && !is_drawn(key, number + quiet, ratio_ppm))
        quiet++;
    return quiet;
}

bool fault_is_on(const struct fault_params *params, uint64_t running_ns)
{
    if (running_ns < params->schedule.start_ns ||
        (params->schedule.expires_ns && running_ns >= params->schedule.expires_ns))
        return false;
    running_ns -= params->schedule.start_ns;
    uint64_t flap_ns = params->schedule.flap_on_ns + params->schedule.flap_off_ns;
    if (flap_ns && running_ns % flap_ns >= params->schedule.flap_on_ns)
        return false;
    return !params->schedule.burst_every_ns || is_in_burst(params, running_ns);
}

/* Each has its place in its own stretch of time, anywhere in it. */
static bool is_in_burst(const struct fault_params *params, uint64_t running_ns)
{
    uint64_t every_ns = params->schedule.burst_every_ns, length_ns = params->schedule.burst_ns;
    struct random random = {hash_mix(params->identity ^ running_ns / every_ns)};
    uint64_t begins_ns = random_below(&random, every_ns - length_ns + 1), at_ns = running_ns % every_ns;
    return at_ns >= begins_ns && at_ns < begins_ns + length_ns;
}

static uint64_t probability_ppm(const struct fault_params *params, uint64_t running_ns)
{
    uint64_t ramp_ns = params->schedule.ramp_ns;
    running_ns -= params->schedule.start_ns;
    return running_ns < ramp_ns ? scaled(params->probability_ppm, running_ns, ramp_ns)
                                : params->probability_ppm;
}

uint64_t fault_delay_ns(const struct fault_params *params, const struct fault_moment *moment,
                        struct fault_memory *memory)
{
    struct random random = random_of(moment);
    bool is_repeated = memory->has_drawn && random_chance(&random, params->latency.correlation_ppm);
    if (!is_repeated)
        memory->drawn = random_next(&random);
    memory->has_drawn = true;
    switch (params->latency.distribution) {
    case FAULT_UNIFORM:
        return uniform(params, memory->drawn);
    case FAULT_NORMAL:
        return normal(params, memory->drawn);
    case FAULT_PARETO:
        return pareto(params, memory->drawn);
    }
    return params->latency.delay_ns;
}

static uint64_t shifted(uint64_t delay_ns, uint64_t by_ns, bool is_less)
{
    if (is_less)
        return by_ns < delay_ns ? delay_ns - by_ns : 0;
    return delay_ns + by_ns;
}

/* Anywhere between delay - jitter and delay + jitter. */
static uint64_t uniform(const struct fault_params *params, uint64_t drawn)
{
    uint64_t jitter_ns = params->latency.jitter_ns;
    uint64_t at_ns = (uint64_t)(((unsigned __int128)drawn * (2 * jitter_ns + 1)) >> 64);
    return at_ns < jitter_ns ? shifted(params->latency.delay_ns, jitter_ns - at_ns, true)
                             : params->latency.delay_ns + (at_ns - jitter_ns);
}

/* The jitter is one standard deviation. */
static uint64_t normal(const struct fault_params *params, uint64_t drawn)
{
    static const uint32_t quantiles[] = {
#include "policy/fault_normal.inc"
    };
    enum { OCTAVES = 32 };
    uint64_t tail = drawn << 1 >> 1; /* in 2^-64: below one half */
    uint32_t octave = tail ? (uint32_t)__builtin_clzll(tail) : OCTAVES + 1;
    uint64_t quantile = quantiles[0];
    if (octave <= OCTAVES) {
        uint64_t leading = tail << octave << 1; /* without its first bit */
        const uint32_t *at = &quantiles[(OCTAVES - octave) * 8 + (leading >> 61)];
        quantile = at[0] - scaled(at[0] - at[1], leading << 3 >> 32, UINT64_C(1) << 32);
    }
    return shifted(params->latency.delay_ns, scaled(params->latency.jitter_ns, quantile, 65536), drawn >> 63);
}

/* Mostly a little less than the delay, now and then far more: a Pareto distribution of shape 3, moved and stretched so that
 * its mean is the delay and its smallest value a third of the jitter below that. */
static uint64_t pareto(const struct fault_params *params, uint64_t drawn)
{
    uint64_t tail = (drawn >> 32) + 1;                                   /* in 2^-32 */
    uint64_t stretched = cube_root(((unsigned __int128)1 << 92) / tail); /* in 2^-20, from 1 on */
    uint64_t more_ns = scaled(params->latency.jitter_ns, 2 * stretched, UINT64_C(3) << 20);
    uint64_t jitter_ns = params->latency.jitter_ns;
    return more_ns < jitter_ns ? shifted(params->latency.delay_ns, jitter_ns - more_ns, true)
                               : params->latency.delay_ns + (more_ns - jitter_ns);
}

static uint64_t cube_root(unsigned __int128 of)
{
    uint64_t root = 0;
    for (int bit = 31; bit >= 0; bit--) {
        uint64_t tried = root | UINT64_C(1) << bit;
        if ((unsigned __int128)tried * tried * tried <= of)
            root = tried;
    }
    return root;
}

/* value * by / of, without overflow on the way. */
static uint64_t scaled(uint64_t value, uint64_t by, uint64_t of)
{
    unsigned __int128 result = (unsigned __int128)value * by / of;
    return result > UINT64_MAX ? UINT64_MAX : (uint64_t)result;
}

uint64_t fault_slice_bytes(const struct fault_params *params, const struct fault_moment *moment)
{
    struct random random = random_of(moment);
    uint64_t least = params->slice.size - params->slice.variation;
    return least + random_below(&random, 2 * params->slice.variation + 1);
}

bool fault_takes_datagram(const struct fault_params *params, const struct fault_moment *moment,
                          struct fault_memory *memory)
{
    struct random random = random_of(moment);
    uint32_t ratio_ppm = params->ratio_ppm;
    if (params->burst.enter_ppm) {
        bool changes =
            random_chance(&random, memory->is_bad ? params->burst.leave_ppm : params->burst.enter_ppm);
        memory->is_bad ^= changes;
        ratio_ppm = memory->is_bad ? params->burst.ratio_ppm : ratio_ppm;
    }
    return random_chance(&random, ratio_ppm);
}

size_t fault_corrupt(const struct fault_params *params, uint64_t key, uint64_t offset, uint8_t *bytes,
                     size_t size)
{
    size_t changed = 0;
    for (size_t i = 0; i < size; i++) {
        struct random random = {hash_mix(key + offset + i)};
        if (!random_chance(&random, params->ratio_ppm))
            continue;
        bytes[i] ^= (uint8_t)(1u << random_below(&random, 8));
        changed++;
    }
    return changed;
}

struct fault_plan fault_plan_begin(uint64_t now_ns)
{
    return (struct fault_plan){.action = FAULT_GO, .begun_ns = now_ns};
}

bool fault_plan_add(struct fault_plan *plan, const struct fault_params *params, uint32_t fault,
                    const struct fault_moment *moment, struct fault_memory *memory)
{
    if (plan->action != FAULT_GO)
        return false;
    plan->fired |= UINT64_C(1) << fault;
    plan->last = fault;
    switch (params->kind) {
    case FAULT_ERROR:
        plan->action = FAULT_FAIL;
        plan->error = params->error;
        break;
    case FAULT_LATENCY:
        plan->delay_ns += fault_delay_ns(params, moment, memory);
        break;
    case FAULT_TIMEOUT:
        plan->action = FAULT_SILENCE;
        break;
    case FAULT_RESET:
        plan->action = FAULT_BREAK;
        break;
    case FAULT_LIMIT_DATA:
        plan->action = FAULT_END;
        break;
    case FAULT_LOSS:
        plan->action = FAULT_DROP;
        break;
    case FAULT_DUPLICATE:
        plan->is_twice = true;
        break;
    case FAULT_REORDER:
        plan->depth = params->reorder.depth;
        plan->delay_ns += params->reorder.hold_ns;
        break;
    case FAULT_INTERRUPT:
        plan->action = FAULT_FAIL;
        plan->error = EINTR;
        break;
    case FAULT_EXHAUST:
        plan->action = FAULT_FAIL;
        plan->error = EMFILE;
        break;
    case FAULT_ADDRESS:
        plan->action = FAULT_REPLACE;
        break;
    case FAULT_BANDWIDTH: /* these are about bytes */
    case FAULT_SLICE:
    case FAULT_SLOW_CLOSE:
    case FAULT_CORRUPT:
    case FAULT_KINDS:
        break;
    }
    return true;
}

uint64_t fault_plan_due_ns(const struct fault_plan *plan)
{
    if (plan->action == FAULT_SILENCE)
        return FAULT_NEVER;
    return plan->begun_ns + plan->delay_ns;
}

/* How long a full bucket takes to be refilled, or so many bytes of it. */
static uint64_t filling_ns(const struct fault_params *params, uint64_t bytes)
{
    return scaled(bytes, NS_PER_S, params->bandwidth.bytes_per_s);
}

uint64_t fault_bucket_room(const struct fault_params *params, uint64_t word, uint64_t now_ns)
{
    uint64_t whole_ns = filling_ns(params, params->bandwidth.burst_bytes);
    if (word <= now_ns)
        return params->bandwidth.burst_bytes;
    if (word - now_ns >= whole_ns)
        return 0;
    return scaled(whole_ns - (word - now_ns), params->bandwidth.bytes_per_s, NS_PER_S);
}

uint64_t fault_bucket_take(const struct fault_params *params, uint64_t word, uint64_t bytes, uint64_t now_ns)
{
    return (word > now_ns ? word : now_ns) + filling_ns(params, bytes);
}

uint64_t fault_bucket_due_ns(const struct fault_params *params, uint64_t word, uint64_t bytes)
{
    uint64_t burst = params->bandwidth.burst_bytes;
    uint64_t missing_ns = filling_ns(params, burst - (bytes < burst ? bytes : burst));
    /* One more for what rounding down leaves out. */
    return word > missing_ns ? word - missing_ns + 1 : 0;
}

uint64_t fault_bucket_sip(const struct fault_params *params)
{
    uint64_t sip = params->bandwidth.bytes_per_s / 100, burst = params->bandwidth.burst_bytes;
    sip = sip < burst ? sip : burst;
    return sip ? sip : 1;
}
