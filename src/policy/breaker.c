#include "policy/breaker.h"

/* The word, from the top: state 2 bits | openings 5 | failures or successes 8 | generation 12 | time 37.
 *
 * The time is the end of the open time, or of the probe's lease (0 = no probe is out). 37 bits of ms come round after
 * four years of uptime, so times are compared by their distance. */
#define TIME_BITS       37
#define GENERATION_BITS 12
#define COUNT_BITS      8
#define OPENINGS_BITS   5

#define MAX_OF(bits) ((UINT64_C(1) << (bits)) - 1)
#define TIME_MAX     MAX_OF(TIME_BITS)
#define COUNT_MAX    ((uint32_t)MAX_OF(COUNT_BITS))
#define OPENINGS_MAX ((uint32_t)MAX_OF(OPENINGS_BITS))

#define GENERATION_SHIFT TIME_BITS
#define COUNT_SHIFT      (GENERATION_SHIFT + GENERATION_BITS)
#define OPENINGS_SHIFT   (COUNT_SHIFT + COUNT_BITS)
#define STATE_SHIFT      (OPENINGS_SHIFT + OPENINGS_BITS)

#define NS_PER_MS UINT64_C(1000000)

/* Beyond these, distances could no longer be told from the past. */
#define DURATION_MAX_MS (TIME_MAX / 4)

/* A caller may have read the clock this long before it read the word, and another written in between. */
#define SKEW_MS 60000

struct fields {
    enum breaker_state state;
    uint32_t openings;
    uint32_t count;
    uint32_t generation;
    uint64_t until_ms;
};

static struct fields unpack(uint64_t word)
{
    struct fields fields = {
        .state = (enum breaker_state)(word >> STATE_SHIFT),
        .openings = word >> OPENINGS_SHIFT & OPENINGS_MAX,
        .count = word >> COUNT_SHIFT & COUNT_MAX,
        .generation = word >> GENERATION_SHIFT & MAX_OF(GENERATION_BITS),
        .until_ms = word & TIME_MAX,
    };
    /* Two bits know a fourth state, which only a damaged word has. */
    return fields.state > BREAKER_HALF_OPEN ? (struct fields){0} : fields;
}

static uint64_t pack(struct fields fields)
{
    return (uint64_t)fields.state << STATE_SHIFT | (uint64_t)fields.openings << OPENINGS_SHIFT |
           (uint64_t)fields.count << COUNT_SHIFT |
           (fields.generation & MAX_OF(GENERATION_BITS)) << GENERATION_SHIFT | (fields.until_ms & TIME_MAX);
}

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t ms_up(uint64_t ns)
{
    return ns / NS_PER_MS + (ns % NS_PER_MS != 0);
}

static uint64_t duration_ms(uint64_t ns)
{
    return min(ms_up(ns), DURATION_MAX_MS);
}

static uint64_t longest_open_ms(const struct breaker_params *params)
{
    return duration_ms(max(params->recovery_timeout_ns, params->max_recovery_timeout_ns));
}

/* How long until the word's time comes; 0 when it has. A time further off than any that we could have written is
 * damage, or four years old: it has come too, so that no word can keep a circuit open for ever. */
static uint64_t left_ms(uint64_t until_ms, uint64_t longest_ms, uint64_t now_ns)
{
    uint64_t left = (until_ms - now_ns / NS_PER_MS) & TIME_MAX;
    return left <= longest_ms + SKEW_MS ? left : 0;
}

/* How long the circuit stays open after so many openings in a row: the time doubles, and is lengthened by a random
 * share. Where that would exceed the maximum, the range is moved down instead of cut: callers that were all rejected
 * for long are exactly those that must not come back at once. */
static uint64_t open_ms(const struct breaker_params *params, uint32_t openings, struct random *random)
{
    uint64_t first = duration_ms(params->recovery_timeout_ns);
    uint64_t longest = longest_open_ms(params);
    uint64_t stretch_ppm = PPM_ONE + min(params->jitter_ppm, PPM_ONE);
    uint64_t low = first > longest >> openings ? longest : first << openings;
    uint64_t high = low * stretch_ppm / PPM_ONE;
    if (high > longest) {
        high = longest;
        low = max(first, high * PPM_ONE / stretch_ppm);
    }
    return low + random_below(random, high - low + 1);
}

static struct breaker_answer probe(struct fields fields, const struct breaker_params *params, uint64_t now_ns)
{
    fields.state = BREAKER_HALF_OPEN;
    /* Each probe has a generation of its own, so that a report counts once and a lost probe's not at all. */
    fields.generation = (fields.generation + 1) & MAX_OF(GENERATION_BITS);
    fields.until_ms = (ms_up(now_ns) + duration_ms(params->lease_ns)) & TIME_MAX;
    if (fields.until_ms == 0)
        fields.until_ms = 1;
    return (struct breaker_answer){
        .word = pack(fields),
        .verdict = BREAKER_PROBE,
        .ticket = {.generation = (uint16_t)fields.generation, .is_probe = true},
    };
}

struct breaker_answer breaker_admit(uint64_t word, const struct breaker_params *params, uint64_t now_ns)
{
    struct fields fields = unpack(word);
    uint64_t left = 0;
    switch (fields.state) {
    case BREAKER_CLOSED:
        return (struct breaker_answer){
            .word = word,
            .verdict = BREAKER_ADMIT,
            .ticket = {.generation = (uint16_t)fields.generation},
        };
    case BREAKER_OPEN:
        left = left_ms(fields.until_ms, longest_open_ms(params), now_ns);
        break;
    case BREAKER_HALF_OPEN:
        if (fields.until_ms != 0)
            left = left_ms(fields.until_ms, duration_ms(params->lease_ns), now_ns);
        break;
    }
    if (left == 0)
        return probe(fields, params, now_ns);
    return (struct breaker_answer){
        .word = word,
        .verdict = BREAKER_REJECT,
        .until_ns = (now_ns / NS_PER_MS + left) * NS_PER_MS,
    };
}

uint64_t breaker_open_until(uint64_t word, const struct breaker_params *params, uint64_t now_ns)
{
    if (word >> STATE_SHIFT != BREAKER_OPEN)
        return 0;
    uint64_t left = left_ms(word & TIME_MAX, longest_open_ms(params), now_ns);
    return left ? (now_ns / NS_PER_MS + left) * NS_PER_MS : 0;
}

static struct breaker_change moved(struct fields fields, enum breaker_transition transition)
{
    fields.generation++;
    return (struct breaker_change){.word = pack(fields), .transition = transition};
}

static struct breaker_change opened(struct fields fields, enum breaker_transition transition,
                                    const struct breaker_params *params, uint64_t now_ns,
                                    struct random *random)
{
    uint64_t until_ms = ms_up(now_ns) + open_ms(params, fields.openings, random);
    fields.state = BREAKER_OPEN;
    fields.openings = min(fields.openings + 1, OPENINGS_MAX);
    fields.count = 0;
    fields.until_ms = until_ms;
    struct breaker_change change = moved(fields, transition);
    change.until_ns = until_ms * NS_PER_MS;
    return change;
}

static bool is_too_many(const struct breaker_params *params, uint32_t failures, struct window_sum recent)
{
    if (params->failure_threshold && failures >= min(params->failure_threshold, COUNT_MAX))
        return true;
    return params->failure_ratio_ppm && recent.events && recent.events >= params->minimum_calls &&
           (uint64_t)recent.marked * PPM_ONE >= (uint64_t)recent.events * params->failure_ratio_ppm;
}

static struct breaker_change stayed(struct fields fields)
{
    return (struct breaker_change){.word = pack(fields), .transition = BREAKER_STAYED};
}

static struct breaker_change ended_closed(struct fields fields, const struct breaker_params *params,
                                          enum breaker_report report, struct window_sum recent,
                                          uint64_t now_ns, struct random *random)
{
    switch (report) {
    case BREAKER_SUCCESS:
        fields.count = 0;
        break;
    case BREAKER_FAILURE:
        fields.count = min(fields.count + 1, COUNT_MAX);
        if (is_too_many(params, fields.count, recent))
            return opened(fields, BREAKER_OPENED, params, now_ns, random);
        break;
    case BREAKER_NEUTRAL:
        break;
    }
    return stayed(fields);
}

static struct breaker_change ended_probe(struct fields fields, const struct breaker_params *params,
                                         enum breaker_report report, uint64_t now_ns, struct random *random)
{
    if (report == BREAKER_FAILURE)
        return opened(fields, BREAKER_REOPENED, params, now_ns, random);
    if (report == BREAKER_SUCCESS) {
        fields.count = min(fields.count + 1, COUNT_MAX);
        if (fields.count >= min(params->success_threshold, COUNT_MAX))
            return moved((struct fields){.generation = fields.generation}, BREAKER_RECOVERED);
    }
    fields.until_ms = 0;
    return stayed(fields);
}

struct breaker_change breaker_ended(uint64_t word, const struct breaker_params *params,
                                    struct breaker_ticket ticket, enum breaker_report report,
                                    struct window_sum recent, uint64_t now_ns, struct random *random)
{
    struct fields fields = unpack(word);
    if (ticket.generation == fields.generation) {
        if (fields.state == BREAKER_CLOSED && !ticket.is_probe)
            return ended_closed(fields, params, report, recent, now_ns, random);
        if (fields.state == BREAKER_HALF_OPEN && ticket.is_probe && fields.until_ms != 0)
            return ended_probe(fields, params, report, now_ns, random);
    }
    return (struct breaker_change){.word = word, .transition = BREAKER_STAYED};
}

uint64_t breaker_reset(uint64_t word)
{
    return pack((struct fields){.generation = unpack(word).generation + 1});
}

bool breaker_is_closed(uint64_t word)
{
    return word >> STATE_SHIFT == BREAKER_CLOSED;
}

bool breaker_is_unharmed(uint64_t word)
{
    return breaker_is_closed(word) && !(word >> COUNT_SHIFT & COUNT_MAX);
}

struct breaker_view breaker_view(uint64_t word)
{
    struct fields fields = unpack(word);
    bool is_closed = fields.state == BREAKER_CLOSED;
    return (struct breaker_view){
        .state = fields.state,
        .failures = is_closed ? fields.count : 0,
        .successes = is_closed ? 0 : fields.count,
        .openings = fields.openings,
        .generation = (uint16_t)fields.generation,
        .until_ns = is_closed ? 0 : fields.until_ms * NS_PER_MS,
    };
}

const char *breaker_state_name(enum breaker_state state)
{
    switch (state) {
    case BREAKER_CLOSED:
        return "closed";
    case BREAKER_OPEN:
        return "open";
    case BREAKER_HALF_OPEN:
        return "half-open";
    }
    return "unknown";
}
