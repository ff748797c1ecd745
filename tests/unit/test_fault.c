#include "policy/fault.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

#define MS      UINT64_C(1000000)
#define S       UINT64_C(1000000000)
#define SAMPLES 200000

/* The statistics of two distributions of so many samples are further apart than this once in 10000 times, if they are the
 * same (Kolmogorov-Smirnov). */
static double critical(unsigned count)
{
    return sqrt(-0.5 * log(1e-4 / 2) / count);
}

static int ascending(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

/* What the delays should be, by the book. */
struct wanted {
    enum fault_distribution distribution;
    double delay, jitter;
};

static double below(const struct wanted *wanted, double value)
{
    double part;
    switch (wanted->distribution) {
    case FAULT_UNIFORM:
        part = (value - (wanted->delay - wanted->jitter)) / (2 * wanted->jitter);
        return part < 0 ? 0 : part > 1 ? 1 : part;
    case FAULT_NORMAL:
        return 0.5 * erfc((wanted->delay - value) / wanted->jitter * M_SQRT1_2);
    case FAULT_PARETO:
        part = (value - wanted->delay + wanted->jitter) / (wanted->jitter * 2 / 3);
        return part < 1 ? 0 : 1 - pow(part, -3);
    }
    return 0;
}

static double distance(const struct wanted *wanted, uint64_t *delays, unsigned count)
{
    double most = 0;
    qsort(delays, count, sizeof *delays, ascending);
    for (unsigned i = 0; i < count; i++) {
        double expected = below(wanted, (double)delays[i]);
        most = fmax(most, fabs(expected - (double)i / count));
        most = fmax(most, fabs(expected - (double)(i + 1) / count));
    }
    return most;
}

static void draw(const struct fault_params *params, uint64_t *delays, unsigned count)
{
    struct fault_memory memory = {0};
    struct fault_moment moment = {.key = fault_key(params, 7, 1, 2, 3)};
    for (moment.number = 0; moment.number < count; moment.number++)
        delays[moment.number] = fault_delay_ns(params, &moment, &memory);
}

/* With these figures, and with each of them wrong by 5 %. */
static void check_distribution(enum fault_distribution distribution)
{
    struct fault_params params = {
        .kind = FAULT_LATENCY,
        .latency = {.delay_ns = 300 * MS, .jitter_ns = 50 * MS, .distribution = distribution}};
    uint64_t *delays = calloc(SAMPLES, sizeof *delays);
    ck_assert_ptr_nonnull(delays);
    draw(&params, delays, SAMPLES);
    struct wanted right = {distribution, 300.0 * MS, 50.0 * MS};
    struct wanted later = {distribution, 315.0 * MS, 50.0 * MS},
                  wider = {distribution, 300.0 * MS, 52.5 * MS};
    double limit = critical(SAMPLES);
    ck_assert_double_lt(distance(&right, delays, SAMPLES), limit);
    ck_assert_double_gt(distance(&later, delays, SAMPLES), limit);
    ck_assert_double_gt(distance(&wider, delays, SAMPLES), limit);
    free(delays);
}

TEST(uniform_delays_are_uniform)
{
    check_distribution(FAULT_UNIFORM);
}

TEST(normal_delays_are_normal)
{
    check_distribution(FAULT_NORMAL);
}

TEST(pareto_delays_are_pareto)
{
    check_distribution(FAULT_PARETO);
}

TEST(correlated_delays_have_the_same_distribution_and_repeat)
{
    struct fault_params params = {.latency = {.delay_ns = 300 * MS,
                                              .jitter_ns = 50 * MS,
                                              .distribution = FAULT_UNIFORM,
                                              .correlation_ppm = 250000}};
    uint64_t *delays = calloc(SAMPLES, sizeof *delays);
    ck_assert_ptr_nonnull(delays);
    draw(&params, delays, SAMPLES);
    unsigned repeated = 0;
    for (unsigned i = 1; i < SAMPLES; i++)
        repeated += delays[i] == delays[i - 1];
    double expected = 0.25 * (SAMPLES - 1), sigma = sqrt(0.25 * 0.75 * (SAMPLES - 1));
    ck_assert_double_lt(fabs(repeated - expected), 4 * sigma);
    struct wanted right = {FAULT_UNIFORM, 300.0 * MS, 50.0 * MS};
    /* Repeated samples say nothing new. */
    ck_assert_double_lt(distance(&right, delays, SAMPLES), critical((unsigned)(SAMPLES * 0.6)));
    free(delays);
}

TEST(without_jitter_every_delay_is_the_same)
{
    for (int distribution = FAULT_UNIFORM; distribution <= FAULT_PARETO; distribution++) {
        struct fault_params params = {.latency = {.delay_ns = 300 * MS, .distribution = distribution}};
        uint64_t delays[100];
        draw(&params, delays, 100);
        for (int i = 0; i < 100; i++)
            ck_assert_uint_eq(delays[i], 300 * MS);
    }
}

TEST(no_delay_is_negative)
{
    for (int distribution = FAULT_UNIFORM; distribution <= FAULT_PARETO; distribution++) {
        struct fault_params params = {
            .latency = {.delay_ns = 10 * MS, .jitter_ns = 10 * MS, .distribution = distribution}};
        uint64_t *delays = calloc(SAMPLES, sizeof *delays);
        ck_assert_ptr_nonnull(delays);
        draw(&params, delays, SAMPLES);
        uint64_t most = 0;
        for (unsigned i = 0; i < SAMPLES; i++)
            most = delays[i] > most ? delays[i] : most;
        ck_assert_uint_lt(most, 100 * S);
        free(delays);
    }
}

static unsigned count_fired(const struct fault_params *params, unsigned calls, uint64_t seed)
{
    unsigned fired = 0;
    struct fault_moment moment = {.key = fault_key(params, seed, 1, 2, 3)};
    for (moment.number = 0; moment.number < calls; moment.number++, moment.ordinal++)
        fired += fault_fires(params, &moment);
    return fired;
}

TEST(a_probability_holds_over_many_calls)
{
    static const uint32_t shares[] = {1000, 10000, 100000, 200000, 500000, 900000, 999000};
    for (unsigned i = 0; i < sizeof shares / sizeof *shares; i++) {
        struct fault_params params = {.identity = i, .probability_ppm = shares[i]};
        double p = shares[i] / 1e6, sigma = sqrt(SAMPLES * p * (1 - p));
        ck_assert_double_lt(fabs(count_fired(&params, SAMPLES, 11) - SAMPLES * p), 4 * sigma);
    }
    struct fault_params always = {.probability_ppm = PPM_ONE};
    ck_assert_uint_eq(count_fired(&always, 1000, 11), 1000);
}

TEST(a_probability_holds_over_connections_processes_targets_and_seeds)
{
    for (int varied = 0; varied < 4; varied++) {
        struct fault_params params = {.probability_ppm = 200000};
        unsigned fired = 0;
        for (uint64_t i = 0; i < SAMPLES; i++) {
            uint64_t is[4] = {1, 1, 1, 1};
            is[varied] = i;
            struct fault_moment moment = {.key = fault_key(&params, is[0], is[1], is[2], is[3])};
            fired += fault_fires(&params, &moment);
        }
        ck_assert_double_lt(fabs(fired - SAMPLES * 0.2), 4 * sqrt(SAMPLES * 0.2 * 0.8));
    }
}

TEST(the_same_moment_has_the_same_outcome)
{
    struct fault_params params = {.identity = 5, .probability_ppm = 300000};
    for (unsigned calls = 1; calls < 2000; calls += 97)
        ck_assert_uint_eq(count_fired(&params, calls, 42), count_fired(&params, calls, 42));
    ck_assert_uint_ne(count_fired(&params, 10000, 42), count_fired(&params, 10000, 43));
}

TEST(a_seed_of_its_own_wins)
{
    struct fault_params params = {.probability_ppm = 300000, .seed = 9, .has_seed = true};
    ck_assert_uint_eq(fault_key(&params, 1, 2, 3, 4), fault_key(&params, 7, 2, 3, 4));
    ck_assert_uint_ne(fault_key(&params, 1, 2, 3, 4), fault_key(&params, 1, 2, 3, 5));
}

/* "..x" for the calls that it fires at. */
static const char *shape(const struct fault_params *params, unsigned calls)
{
    static char text[64];
    struct fault_moment moment = {.key = 1};
    for (unsigned i = 0; i < calls; i++, moment.ordinal++, moment.number++)
        text[i] = fault_fires(params, &moment) ? 'x' : '.';
    text[calls] = '\0';
    return text;
}

TEST(nth_every_and_after_count_calls)
{
    struct fault_params params = {.probability_ppm = PPM_ONE, .nth = 3};
    ck_assert_str_eq(shape(&params, 8), "..x.....");
    params = (struct fault_params){.probability_ppm = PPM_ONE, .every = 3};
    ck_assert_str_eq(shape(&params, 8), "..x..x..");
    params = (struct fault_params){.probability_ppm = PPM_ONE, .after = 3};
    ck_assert_str_eq(shape(&params, 8), "...xxxxx");
    params = (struct fault_params){.probability_ppm = PPM_ONE, .after = 3, .nth = 2};
    ck_assert_str_eq(shape(&params, 8), "....x...");
    params = (struct fault_params){.probability_ppm = PPM_ONE, .after = 1, .every = 2};
    ck_assert_str_eq(shape(&params, 8), "..x.x.x.");
}

TEST(a_schedule_says_when_it_is_on)
{
    struct fault_params params = {.has_schedule = true,
                                  .schedule = {.start_ns = 10 * S, .expires_ns = 60 * S}};
    ck_assert(!fault_is_on(&params, 10 * S - 1));
    ck_assert(fault_is_on(&params, 10 * S));
    ck_assert(fault_is_on(&params, 60 * S - 1));
    ck_assert(!fault_is_on(&params, 60 * S));
    params.schedule.flap_on_ns = 2 * S;
    params.schedule.flap_off_ns = 3 * S;
    ck_assert(fault_is_on(&params, 10 * S));
    ck_assert(fault_is_on(&params, 12 * S - 1));
    ck_assert(!fault_is_on(&params, 12 * S));
    ck_assert(!fault_is_on(&params, 15 * S - 1));
    ck_assert(fault_is_on(&params, 15 * S));
}

TEST(a_burst_comes_once_in_its_time_and_lasts_as_long_as_it_should)
{
    struct fault_params params = {
        .identity = 3, .has_schedule = true, .schedule = {.burst_ns = 2 * S, .burst_every_ns = 30 * S}};
    unsigned places = 0;
    uint64_t last_begin = UINT64_MAX;
    for (uint64_t stretch = 0; stretch < 20; stretch++) {
        unsigned on = 0, begins = 0;
        for (uint64_t ms = 0; ms < 30000; ms++) {
            bool is_on = fault_is_on(&params, stretch * 30 * S + ms * MS);
            bool was_on = ms && fault_is_on(&params, stretch * 30 * S + (ms - 1) * MS);
            on += is_on;
            begins += is_on && !was_on;
            if (is_on && !was_on && ms != last_begin) {
                places++;
                last_begin = ms;
            }
        }
        ck_assert_uint_ge(on, 1999);
        ck_assert_uint_le(on, 2001);
        ck_assert_uint_eq(begins, 1);
    }
    ck_assert_uint_gt(places, 15);
}

TEST(a_ramp_makes_it_likelier_and_likelier)
{
    struct fault_params params = {
        .probability_ppm = 800000, .has_schedule = true, .schedule = {.start_ns = 5 * S, .ramp_ns = 20 * S}};
    static const struct {
        uint64_t at_ns;
        double share;
    } points[] = {{5 * S, 0}, {10 * S, 0.2}, {15 * S, 0.4}, {25 * S, 0.8}, {60 * S, 0.8}};
    for (unsigned i = 0; i < sizeof points / sizeof *points; i++) {
        unsigned fired = 0;
        struct fault_moment moment = {.key = 99, .running_ns = points[i].at_ns};
        for (moment.number = 0; moment.number < SAMPLES; moment.number++)
            fired += fault_fires(&params, &moment);
        double p = points[i].share, sigma = sqrt(SAMPLES * p * (1 - p));
        ck_assert_double_le(fabs(fired - SAMPLES * p), 4 * sigma);
    }
}

TEST(latencies_add_up_and_what_ends_a_call_ends_the_plan)
{
    struct fault_params slow = {.kind = FAULT_LATENCY, .latency.delay_ns = 300 * MS};
    struct fault_params slower = {.kind = FAULT_LATENCY, .latency.delay_ns = 500 * MS};
    struct fault_params error = {.kind = FAULT_ERROR, .error = 111};
    struct fault_params silent = {.kind = FAULT_TIMEOUT};
    struct fault_moment moment = {.key = 1};
    struct fault_memory memory = {0};
    struct fault_plan plan = fault_plan_begin(10 * S);
    ck_assert(fault_plan_add(&plan, &slow, 0, &moment, &memory));
    ck_assert(fault_plan_add(&plan, &slower, 3, &moment, &memory));
    ck_assert_uint_eq(fault_plan_due_ns(&plan), 10 * S + 800 * MS);
    ck_assert_int_eq(plan.action, FAULT_GO);
    ck_assert(fault_plan_add(&plan, &error, 5, &moment, &memory));
    ck_assert(!fault_plan_add(&plan, &silent, 6, &moment, &memory));
    ck_assert_int_eq(plan.action, FAULT_FAIL);
    ck_assert_int_eq(plan.error, 111);
    ck_assert_uint_eq(plan.fired, 1u | 1u << 3 | 1u << 5);
    ck_assert_uint_eq(fault_plan_due_ns(&plan), 10 * S + 800 * MS);
    plan = fault_plan_begin(10 * S);
    ck_assert(fault_plan_add(&plan, &silent, 0, &moment, &memory));
    ck_assert_uint_eq(fault_plan_due_ns(&plan), FAULT_NEVER);
}

TEST(a_bucket_lets_its_rate_through_and_no_more)
{
    struct fault_params params = {.kind = FAULT_BANDWIDTH,
                                  .bandwidth = {.bytes_per_s = 100000, .burst_bytes = 5000}};
    uint64_t word = 0, now = 1000 * S, moved = 0, end = now + 100 * S;
    ck_assert_uint_eq(fault_bucket_room(&params, word, now), 5000);
    while (now < end) {
        uint64_t room = fault_bucket_room(&params, word, now);
        if (room < fault_bucket_sip(&params)) {
            uint64_t due = fault_bucket_due_ns(&params, word, fault_bucket_sip(&params));
            ck_assert_uint_gt(due, now);
            now = due;
            continue;
        }
        word = fault_bucket_take(&params, word, room, now);
        moved += room;
    }
    ck_assert_uint_le(moved, 100 * 100000 + 5000 + fault_bucket_sip(&params));
    ck_assert_uint_ge(moved, 100 * 100000);
}

TEST(a_bucket_that_is_left_alone_is_full_again_and_no_fuller)
{
    struct fault_params params = {.bandwidth = {.bytes_per_s = 1000, .burst_bytes = 500}};
    uint64_t word = fault_bucket_take(&params, 0, 500, 10 * S);
    ck_assert_uint_eq(fault_bucket_room(&params, word, 10 * S), 0);
    ck_assert_uint_eq(fault_bucket_room(&params, word, 10 * S + 100 * MS), 100);
    ck_assert_uint_eq(fault_bucket_room(&params, word, 11 * S), 500);
    ck_assert_uint_eq(fault_bucket_room(&params, word, 100 * S), 500);
}

TEST(more_than_there_was_room_for_is_paid_back)
{
    struct fault_params params = {.bandwidth = {.bytes_per_s = 1000, .burst_bytes = 500}};
    uint64_t word = fault_bucket_take(&params, 0, 2000, 10 * S); /* a datagram is not cut */
    ck_assert_uint_eq(fault_bucket_room(&params, word, 11 * S), 0);
    ck_assert_uint_eq(fault_bucket_room(&params, word, 11 * S + 600 * MS), 100);
}

TEST(datagrams_are_lost_in_bursts_as_often_as_the_chain_says)
{
    struct fault_params params = {.kind = FAULT_LOSS,
                                  .ratio_ppm = 5000,
                                  .burst = {.enter_ppm = 10000, .leave_ppm = 250000, .ratio_ppm = 800000}};
    struct fault_memory memory = {0};
    struct fault_moment moment = {.key = 77};
    unsigned lost = 0, pairs = 0, was_lost = 0;
    for (; moment.number < SAMPLES; moment.number++) {
        bool is_lost = fault_takes_datagram(&params, &moment, &memory);
        lost += is_lost;
        pairs += is_lost && was_lost;
        was_lost = is_lost;
    }
    /* The chain is in its bad state in 1 / (1 + 25) of the cases; losses that follow each other make the spread wider. */
    double bad = 0.01 / 0.26, expected = bad * 0.8 + (1 - bad) * 0.005;
    double sigma = sqrt(SAMPLES * expected * (1 - expected) * 7);
    ck_assert_double_lt(fabs(lost - SAMPLES * expected), 4 * sigma);
    ck_assert_double_gt(pairs, lost * 0.4);
    struct fault_params single = {.ratio_ppm = 50000};
    lost = 0;
    for (moment.number = 0; moment.number < SAMPLES; moment.number++)
        lost += fault_takes_datagram(&single, &moment, &memory);
    ck_assert_double_lt(fabs(lost - SAMPLES * 0.05), 4 * sqrt(SAMPLES * 0.05 * 0.95));
}

TEST(slices_have_their_size_give_or_take)
{
    struct fault_params params = {.slice = {.size = 100, .variation = 20}};
    struct fault_moment moment = {.key = 5};
    unsigned seen[200] = {0};
    for (; moment.number < 41000; moment.number++) {
        uint64_t bytes = fault_slice_bytes(&params, &moment);
        ck_assert_uint_ge(bytes, 80);
        ck_assert_uint_le(bytes, 120);
        seen[bytes]++;
    }
    for (unsigned i = 80; i <= 120; i++)
        ck_assert_double_lt(fabs(seen[i] - 1000.0), 5 * sqrt(1000));
}

TEST(the_same_bytes_are_changed_however_they_are_cut)
{
    static uint8_t whole[SAMPLES], cut[SAMPLES];
    struct fault_params params = {.ratio_ppm = 10000};
    memset(whole, 0, sizeof whole);
    memset(cut, 0, sizeof cut);
    size_t changed = fault_corrupt(&params, 3, 1000, whole, sizeof whole), again = 0;
    for (size_t at = 0; at < sizeof cut; at += 1000)
        again += fault_corrupt(&params, 3, 1000 + at, cut + at, 1000);
    ck_assert_uint_eq(changed, again);
    ck_assert_mem_eq(whole, cut, sizeof whole);
    ck_assert_double_lt(fabs((double)changed - SAMPLES * 0.01), 4 * sqrt(SAMPLES * 0.01 * 0.99));
    for (size_t i = 0; i < sizeof whole; i++)
        ck_assert_int_le(__builtin_popcount(whole[i]), 1);
}

TEST(what_is_said_to_be_quiet_is)
{
    static const uint32_t shares[] = {1, 1000, 20000, 300000, 999999, PPM_ONE};
    for (unsigned i = 0; i < sizeof shares / sizeof *shares; i++) {
        struct fault_params params = {.probability_ppm = shares[i]};
        struct fault_moment moment = {.key = 1234};
        for (uint64_t begin = 0; begin < 5000; begin += 7) {
            uint32_t quiet = fault_quiet(&params, moment.key, begin, 100);
            ck_assert_uint_le(quiet, 100);
            for (moment.number = begin; moment.number < begin + quiet; moment.number++)
                ck_assert(!fault_fires(&params, &moment));
            if (quiet < 100)
                ck_assert(fault_fires(&params, &moment));
        }
    }
}

SUITE("fault", uniform_delays_are_uniform, normal_delays_are_normal, pareto_delays_are_pareto,
      correlated_delays_have_the_same_distribution_and_repeat, without_jitter_every_delay_is_the_same,
      no_delay_is_negative, a_probability_holds_over_many_calls,
      a_probability_holds_over_connections_processes_targets_and_seeds, the_same_moment_has_the_same_outcome,
      a_seed_of_its_own_wins, nth_every_and_after_count_calls, a_schedule_says_when_it_is_on,
      a_burst_comes_once_in_its_time_and_lasts_as_long_as_it_should, a_ramp_makes_it_likelier_and_likelier,
      latencies_add_up_and_what_ends_a_call_ends_the_plan, a_bucket_lets_its_rate_through_and_no_more,
      a_bucket_that_is_left_alone_is_full_again_and_no_fuller, more_than_there_was_room_for_is_paid_back,
      datagrams_are_lost_in_bursts_as_often_as_the_chain_says, slices_have_their_size_give_or_take,
      the_same_bytes_are_changed_however_they_are_cut, what_is_said_to_be_quiet_is)
