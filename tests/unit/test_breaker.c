#include "policy/breaker.h"

#include "suite.h"

#define MS  UINT64_C(1000000)
#define S   (1000 * MS)
#define NOW (100 * S)

#define NOTHING_RECENT ((struct window_sum){0})

static const struct breaker_params defaults = {
    .failure_threshold = 3,
    .recovery_timeout_ns = 5 * S,
    .max_recovery_timeout_ns = 60 * S,
    .success_threshold = 1,
    .lease_ns = 6 * S,
};

static struct random dice = {1};

static struct breaker_change ended(uint64_t word, struct breaker_params params, struct breaker_ticket ticket,
                                   enum breaker_report report, uint64_t now_ns)
{
    return breaker_ended(word, &params, ticket, report, NOTHING_RECENT, now_ns, &dice);
}

/* Admitted, and ended at once. */
static uint64_t after_calls(uint64_t word, struct breaker_params params, enum breaker_report report,
                            int calls)
{
    for (int i = 0; i < calls; i++) {
        struct breaker_answer answer = breaker_admit(word, &params, NOW);
        word = ended(answer.word, params, answer.ticket, report, NOW).word;
    }
    return word;
}

static uint64_t opened_word(struct breaker_params params)
{
    uint64_t word = after_calls(0, params, BREAKER_FAILURE, (int)params.failure_threshold);
    ck_assert_int_eq(breaker_view(word).state, BREAKER_OPEN);
    return word;
}

/* The answer with a probe, of a circuit whose open time is over. */
static struct breaker_answer probe_of(uint64_t word, struct breaker_params params)
{
    struct breaker_answer answer = breaker_admit(word, &params, breaker_view(word).until_ns);
    ck_assert_int_eq(answer.verdict, BREAKER_PROBE);
    return answer;
}

static void assert_view(uint64_t word, enum breaker_state state, uint32_t failures, uint32_t successes,
                        uint32_t openings)
{
    struct breaker_view view = breaker_view(word);
    ck_assert_int_eq(view.state, state);
    ck_assert_uint_eq(view.failures, failures);
    ck_assert_uint_eq(view.successes, successes);
    ck_assert_uint_eq(view.openings, openings);
}

/* --- closed --- */

TEST(word_zero_is_closed_and_admits)
{
    assert_view(0, BREAKER_CLOSED, 0, 0, 0);
    struct breaker_answer answer = breaker_admit(0, &defaults, NOW);
    ck_assert_int_eq(answer.verdict, BREAKER_ADMIT);
    ck_assert_uint_eq(answer.word, 0);
    ck_assert(!answer.ticket.is_probe);
}

TEST(failures_in_a_row_open_it)
{
    uint64_t word = after_calls(0, defaults, BREAKER_FAILURE, 2);
    assert_view(word, BREAKER_CLOSED, 2, 0, 0);
    struct breaker_ticket ticket = breaker_admit(word, &defaults, NOW).ticket;
    struct breaker_change change = ended(word, defaults, ticket, BREAKER_FAILURE, NOW);
    ck_assert_int_eq(change.transition, BREAKER_OPENED);
    ck_assert_uint_eq(change.until_ns, NOW + 5 * S);
    assert_view(change.word, BREAKER_OPEN, 0, 0, 1);
    ck_assert_uint_eq(breaker_view(change.word).until_ns, change.until_ns);
}

TEST(threshold_of_one_opens_at_the_first_failure)
{
    struct breaker_params touchy = defaults;
    touchy.failure_threshold = 1;
    assert_view(after_calls(0, touchy, BREAKER_FAILURE, 1), BREAKER_OPEN, 0, 0, 1);
}

TEST(success_forgets_failures)
{
    uint64_t word = after_calls(0, defaults, BREAKER_FAILURE, 2);
    word = after_calls(word, defaults, BREAKER_SUCCESS, 1);
    assert_view(word, BREAKER_CLOSED, 0, 0, 0);
    assert_view(after_calls(word, defaults, BREAKER_FAILURE, 2), BREAKER_CLOSED, 2, 0, 0);
}

TEST(success_without_failures_leaves_the_word_alone)
{
    ck_assert_uint_eq(after_calls(0, defaults, BREAKER_SUCCESS, 5), 0);
}

TEST(neutral_leaves_a_closed_word_alone)
{
    uint64_t word = after_calls(0, defaults, BREAKER_FAILURE, 2);
    ck_assert_uint_eq(after_calls(word, defaults, BREAKER_NEUTRAL, 5), word);
}

TEST(threshold_of_zero_never_opens)
{
    struct breaker_params patient = defaults;
    patient.failure_threshold = 0;
    assert_view(after_calls(0, patient, BREAKER_FAILURE, 1000), BREAKER_CLOSED, 255, 0, 0);
}

TEST(threshold_above_the_counter_opens_at_255)
{
    struct breaker_params high = defaults;
    high.failure_threshold = 1000;
    uint64_t word = after_calls(0, high, BREAKER_FAILURE, 254);
    assert_view(word, BREAKER_CLOSED, 254, 0, 0);
    assert_view(after_calls(word, high, BREAKER_FAILURE, 1), BREAKER_OPEN, 0, 0, 1);
}

TEST(lowered_threshold_opens_at_the_next_failure)
{
    uint64_t word = after_calls(0, defaults, BREAKER_FAILURE, 2);
    struct breaker_params lower = defaults;
    lower.failure_threshold = 1;
    assert_view(after_calls(word, lower, BREAKER_FAILURE, 1), BREAKER_OPEN, 0, 0, 1);
}

/* --- failure rate --- */

static const struct breaker_params by_rate = {
    .failure_ratio_ppm = 500000,
    .minimum_calls = 10,
    .window_ns = 10 * S,
    .recovery_timeout_ns = 5 * S,
    .max_recovery_timeout_ns = 60 * S,
    .success_threshold = 1,
    .lease_ns = 6 * S,
};

static enum breaker_transition with_recent(struct breaker_params params, enum breaker_report report,
                                           uint32_t events, uint32_t marked)
{
    struct window_sum recent = {.events = events, .marked = marked};
    return breaker_ended(0, &params, (struct breaker_ticket){0}, report, recent, NOW, &dice).transition;
}

TEST(rate_opens_at_its_ratio)
{
    ck_assert_int_eq(with_recent(by_rate, BREAKER_FAILURE, 100, 49), BREAKER_STAYED);
    ck_assert_int_eq(with_recent(by_rate, BREAKER_FAILURE, 100, 50), BREAKER_OPENED);
}

TEST(rate_is_not_judged_on_few_calls)
{
    ck_assert_int_eq(with_recent(by_rate, BREAKER_FAILURE, 9, 9), BREAKER_STAYED);
    ck_assert_int_eq(with_recent(by_rate, BREAKER_FAILURE, 10, 9), BREAKER_OPENED);
}

TEST(rate_is_judged_on_failures_only)
{
    ck_assert_int_eq(with_recent(by_rate, BREAKER_SUCCESS, 100, 99), BREAKER_STAYED);
    ck_assert_int_eq(with_recent(by_rate, BREAKER_NEUTRAL, 100, 99), BREAKER_STAYED);
}

TEST(rate_that_is_off_is_not_judged)
{
    struct breaker_params off = by_rate;
    off.failure_ratio_ppm = 0;
    ck_assert_int_eq(with_recent(off, BREAKER_FAILURE, 100, 100), BREAKER_STAYED);
}

TEST(rate_of_an_empty_window_does_not_open)
{
    struct breaker_params any = by_rate;
    any.minimum_calls = 0;
    ck_assert_int_eq(with_recent(any, BREAKER_FAILURE, 0, 0), BREAKER_STAYED);
}

TEST(rate_of_full_windows_does_not_overflow)
{
    struct breaker_params all = by_rate;
    all.failure_ratio_ppm = PPM_ONE;
    ck_assert_int_eq(with_recent(all, BREAKER_FAILURE, UINT32_MAX, UINT32_MAX - 1), BREAKER_STAYED);
    ck_assert_int_eq(with_recent(all, BREAKER_FAILURE, UINT32_MAX, UINT32_MAX), BREAKER_OPENED);
}

TEST(rate_and_threshold_both_open)
{
    struct breaker_params both = by_rate;
    both.failure_threshold = 1;
    ck_assert_int_eq(with_recent(both, BREAKER_FAILURE, 1, 1), BREAKER_OPENED);
    both.failure_threshold = 200;
    ck_assert_int_eq(with_recent(both, BREAKER_FAILURE, 20, 20), BREAKER_OPENED);
}

/* --- open --- */

TEST(open_rejects_until_its_time)
{
    uint64_t word = opened_word(defaults);
    struct breaker_answer answer = breaker_admit(word, &defaults, NOW + 5 * S - 1);
    ck_assert_int_eq(answer.verdict, BREAKER_REJECT);
    ck_assert_uint_eq(answer.until_ns, NOW + 5 * S);
    ck_assert_uint_eq(answer.word, word);
    ck_assert_int_eq(breaker_admit(word, &defaults, NOW + 5 * S).verdict, BREAKER_PROBE);
}

TEST(times_are_rounded_up_to_milliseconds)
{
    struct breaker_params touchy = defaults;
    touchy.failure_threshold = 1;
    struct breaker_change change = ended(0, touchy, (struct breaker_ticket){0}, BREAKER_FAILURE, NOW + 1);
    ck_assert_uint_eq(change.until_ns, NOW + 5 * S + MS);
    ck_assert_int_eq(breaker_admit(change.word, &touchy, change.until_ns - 1).verdict, BREAKER_REJECT);
    ck_assert_int_eq(breaker_admit(change.word, &touchy, change.until_ns).verdict, BREAKER_PROBE);
}

TEST(outcome_of_a_call_from_before_the_opening_is_ignored)
{
    struct breaker_ticket before = breaker_admit(0, &defaults, NOW).ticket;
    uint64_t word = opened_word(defaults);
    for (int report = BREAKER_SUCCESS; report <= BREAKER_NEUTRAL; report++) {
        struct breaker_change change = ended(word, defaults, before, (enum breaker_report)report, NOW);
        ck_assert_uint_eq(change.word, word);
        ck_assert_int_eq(change.transition, BREAKER_STAYED);
    }
}

TEST(no_ticket_moves_an_open_state)
{
    uint64_t word = opened_word(defaults);
    struct breaker_ticket forged = {.generation = breaker_view(word).generation, .is_probe = true};
    ck_assert_uint_eq(ended(word, defaults, forged, BREAKER_SUCCESS, NOW).word, word);
    ck_assert_uint_eq(ended(word, defaults, forged, BREAKER_FAILURE, NOW).word, word);
}

/* --- half-open --- */

TEST(half_open_admits_one_probe)
{
    struct breaker_answer probe = probe_of(opened_word(defaults), defaults);
    ck_assert(probe.ticket.is_probe);
    assert_view(probe.word, BREAKER_HALF_OPEN, 0, 0, 1);
    uint64_t lease_end = NOW + 5 * S + 6 * S;
    ck_assert_uint_eq(breaker_view(probe.word).until_ns, lease_end);
    struct breaker_answer second = breaker_admit(probe.word, &defaults, NOW + 5 * S);
    ck_assert_int_eq(second.verdict, BREAKER_REJECT);
    ck_assert_uint_eq(second.until_ns, lease_end);
    ck_assert_uint_eq(second.word, probe.word);
}

TEST(probe_that_succeeds_closes_it)
{
    struct breaker_answer probe = probe_of(opened_word(defaults), defaults);
    struct breaker_change change = ended(probe.word, defaults, probe.ticket, BREAKER_SUCCESS, NOW + 6 * S);
    ck_assert_int_eq(change.transition, BREAKER_RECOVERED);
    assert_view(change.word, BREAKER_CLOSED, 0, 0, 0);
    ck_assert_uint_eq(breaker_view(change.word).until_ns, 0);
}

TEST(probe_that_fails_opens_it_for_longer)
{
    struct breaker_answer probe = probe_of(opened_word(defaults), defaults);
    struct breaker_change change = ended(probe.word, defaults, probe.ticket, BREAKER_FAILURE, NOW + 7 * S);
    ck_assert_int_eq(change.transition, BREAKER_REOPENED);
    ck_assert_uint_eq(change.until_ns, NOW + 7 * S + 10 * S);
    assert_view(change.word, BREAKER_OPEN, 0, 0, 2);
}

TEST(one_failed_probe_is_enough_whatever_the_threshold_is)
{
    struct breaker_params params = defaults;
    params.success_threshold = 5;
    struct breaker_answer probe = probe_of(opened_word(params), params);
    ck_assert_int_eq(ended(probe.word, params, probe.ticket, BREAKER_FAILURE, NOW).transition,
                     BREAKER_REOPENED);
}

TEST(recovery_forgets_how_often_it_was_open)
{
    struct breaker_answer probe = probe_of(opened_word(defaults), defaults);
    uint64_t word = ended(probe.word, defaults, probe.ticket, BREAKER_FAILURE, NOW).word;
    probe = probe_of(word, defaults);
    word = ended(probe.word, defaults, probe.ticket, BREAKER_SUCCESS, NOW).word;
    word = after_calls(word, defaults, BREAKER_FAILURE, 3);
    assert_view(word, BREAKER_OPEN, 0, 0, 1);
    ck_assert_uint_eq(breaker_view(word).until_ns, NOW + 5 * S);
}

TEST(probe_without_a_verdict_is_given_back)
{
    struct breaker_answer probe = probe_of(opened_word(defaults), defaults);
    struct breaker_change change = ended(probe.word, defaults, probe.ticket, BREAKER_NEUTRAL, NOW + 6 * S);
    ck_assert_int_eq(change.transition, BREAKER_STAYED);
    assert_view(change.word, BREAKER_HALF_OPEN, 0, 0, 1);
    ck_assert_uint_eq(breaker_view(change.word).until_ns, 0);
    ck_assert_int_eq(breaker_admit(change.word, &defaults, NOW + 6 * S).verdict, BREAKER_PROBE);
}

TEST(lost_probe_is_replaced_after_its_lease)
{
    struct breaker_answer lost = probe_of(opened_word(defaults), defaults);
    uint64_t lease_end = breaker_view(lost.word).until_ns;
    ck_assert_int_eq(breaker_admit(lost.word, &defaults, lease_end - 1).verdict, BREAKER_REJECT);
    struct breaker_answer next = breaker_admit(lost.word, &defaults, lease_end);
    ck_assert_int_eq(next.verdict, BREAKER_PROBE);
    ck_assert_uint_ne(next.ticket.generation, lost.ticket.generation);
    ck_assert_uint_eq(breaker_view(next.word).until_ns, lease_end + 6 * S);
}

TEST(late_outcome_of_a_lost_probe_is_ignored)
{
    struct breaker_answer lost = probe_of(opened_word(defaults), defaults);
    uint64_t lease_end = breaker_view(lost.word).until_ns;
    struct breaker_answer next = breaker_admit(lost.word, &defaults, lease_end);
    for (int report = BREAKER_SUCCESS; report <= BREAKER_NEUTRAL; report++) {
        struct breaker_change change =
            ended(next.word, defaults, lost.ticket, (enum breaker_report)report, lease_end);
        ck_assert_uint_eq(change.word, next.word);
        ck_assert_int_eq(change.transition, BREAKER_STAYED);
    }
}

TEST(late_outcome_of_a_probe_nobody_replaced_counts)
{
    struct breaker_answer late = probe_of(opened_word(defaults), defaults);
    struct breaker_change change = ended(late.word, defaults, late.ticket, BREAKER_SUCCESS, NOW + 3600 * S);
    ck_assert_int_eq(change.transition, BREAKER_RECOVERED);
}

TEST(call_that_is_no_probe_never_moves_a_half_open_state)
{
    struct breaker_answer probe = probe_of(opened_word(defaults), defaults);
    struct breaker_ticket forged = {.generation = probe.ticket.generation, .is_probe = false};
    for (int report = BREAKER_SUCCESS; report <= BREAKER_NEUTRAL; report++)
        ck_assert_uint_eq(ended(probe.word, defaults, forged, (enum breaker_report)report, NOW).word,
                          probe.word);
}

TEST(probe_never_moves_a_closed_state)
{
    struct breaker_params touchy = defaults;
    touchy.failure_threshold = 1;
    struct breaker_ticket forged = {.generation = 0, .is_probe = true};
    ck_assert_uint_eq(ended(0, touchy, forged, BREAKER_FAILURE, NOW).word, 0);
}

TEST(recovery_needs_as_many_successes_as_asked)
{
    struct breaker_params careful = defaults;
    careful.success_threshold = 3;
    uint64_t word = opened_word(careful);
    uint64_t now = breaker_view(word).until_ns;
    for (uint32_t successes = 1; successes < 3; successes++) {
        struct breaker_answer probe = breaker_admit(word, &careful, now);
        ck_assert_int_eq(probe.verdict, BREAKER_PROBE);
        ck_assert_int_eq(breaker_admit(probe.word, &careful, now).verdict, BREAKER_REJECT);
        struct breaker_change change = ended(probe.word, careful, probe.ticket, BREAKER_SUCCESS, now);
        ck_assert_int_eq(change.transition, BREAKER_STAYED);
        assert_view(change.word, BREAKER_HALF_OPEN, 0, successes, 1);
        word = change.word;
    }
    struct breaker_answer last = breaker_admit(word, &careful, now);
    ck_assert_int_eq(ended(last.word, careful, last.ticket, BREAKER_SUCCESS, now).transition,
                     BREAKER_RECOVERED);
}

TEST(giving_back_a_probe_keeps_the_successes)
{
    struct breaker_params careful = defaults;
    careful.success_threshold = 2;
    struct breaker_answer probe = probe_of(opened_word(careful), careful);
    uint64_t word = ended(probe.word, careful, probe.ticket, BREAKER_SUCCESS, NOW).word;
    probe = breaker_admit(word, &careful, NOW);
    word = ended(probe.word, careful, probe.ticket, BREAKER_NEUTRAL, NOW).word;
    assert_view(word, BREAKER_HALF_OPEN, 0, 1, 1);
}

TEST(failed_probe_forgets_the_successes)
{
    struct breaker_params careful = defaults;
    careful.success_threshold = 2;
    struct breaker_answer probe = probe_of(opened_word(careful), careful);
    uint64_t word = ended(probe.word, careful, probe.ticket, BREAKER_SUCCESS, NOW).word;
    probe = breaker_admit(word, &careful, NOW);
    word = ended(probe.word, careful, probe.ticket, BREAKER_FAILURE, NOW).word;
    assert_view(probe_of(word, careful).word, BREAKER_HALF_OPEN, 0, 0, 2);
}

TEST(probe_counts_once)
{
    struct breaker_params careful = defaults;
    careful.success_threshold = 2;
    struct breaker_answer first = probe_of(opened_word(careful), careful);
    uint64_t word = ended(first.word, careful, first.ticket, BREAKER_SUCCESS, NOW).word;
    ck_assert_uint_eq(ended(word, careful, first.ticket, BREAKER_SUCCESS, NOW).word, word);
    word = breaker_admit(word, &careful, NOW).word;
    ck_assert_uint_eq(ended(word, careful, first.ticket, BREAKER_SUCCESS, NOW).word, word);
}

/* --- open time --- */

/* How long it is open for the `openings`th time in a row, least and most of many draws. */
struct range {
    uint64_t least, greatest;
};
static struct range open_time(struct breaker_params params, int openings)
{
    struct range range = {UINT64_MAX, 0};
    for (int draw = 0; draw < 1000; draw++) {
        uint64_t word = opened_word(params);
        for (int i = 1; i < openings; i++) {
            struct breaker_answer probe = probe_of(word, params);
            word = ended(probe.word, params, probe.ticket, BREAKER_FAILURE, NOW).word;
        }
        uint64_t time = breaker_view(word).until_ns - NOW;
        range.least = time < range.least ? time : range.least;
        range.greatest = time > range.greatest ? time : range.greatest;
    }
    return range;
}

TEST(open_time_doubles_up_to_the_maximum)
{
    static const uint64_t expected_s[] = {5, 10, 20, 40, 60, 60};
    for (int i = 0; i < 6; i++) {
        struct range range = open_time(defaults, i + 1);
        ck_assert_uint_eq(range.least, expected_s[i] * S);
        ck_assert_uint_eq(range.greatest, expected_s[i] * S);
    }
}

TEST(open_time_is_lengthened_by_jitter)
{
    struct breaker_params params = defaults;
    params.jitter_ppm = 500000;
    struct range range = open_time(params, 2);
    ck_assert_uint_ge(range.least, 10 * S);
    ck_assert_uint_lt(range.least, 10 * S + 100 * MS);
    ck_assert_uint_gt(range.greatest, 15 * S - 100 * MS);
    ck_assert_uint_le(range.greatest, 15 * S);
}

TEST(jitter_survives_at_the_cap)
{
    struct breaker_params params = defaults;
    params.jitter_ppm = 500000;
    struct range range = open_time(params, 10);
    ck_assert_uint_ge(range.least, 40 * S);
    ck_assert_uint_lt(range.least, 41 * S);
    ck_assert_uint_gt(range.greatest, 59 * S);
    ck_assert_uint_le(range.greatest, 60 * S);
}

TEST(jitter_at_the_cap_keeps_the_recovery_timeout)
{
    struct breaker_params params = defaults;
    params.jitter_ppm = PPM_ONE;
    params.max_recovery_timeout_ns = 6 * S;
    struct range range = open_time(params, 1);
    ck_assert_uint_ge(range.least, 5 * S);
    ck_assert_uint_le(range.greatest, 6 * S);
    ck_assert_uint_gt(range.greatest - range.least, 900 * MS);
}

TEST(maximum_below_the_recovery_timeout_is_the_recovery_timeout)
{
    struct breaker_params params = defaults;
    params.jitter_ppm = 500000;
    params.max_recovery_timeout_ns = 0;
    struct range range = open_time(params, 3);
    ck_assert_uint_eq(range.least, 5 * S);
    ck_assert_uint_eq(range.greatest, 5 * S);
}

TEST(jitter_above_one_counts_as_one)
{
    struct breaker_params params = defaults;
    params.jitter_ppm = UINT32_MAX;
    struct range range = open_time(params, 1);
    ck_assert_uint_ge(range.least, 5 * S);
    ck_assert_uint_le(range.greatest, 10 * S);
}

TEST(openings_saturate)
{
    struct breaker_params params = defaults;
    uint64_t word = opened_word(params);
    for (int i = 0; i < 100; i++) {
        struct breaker_answer probe = probe_of(word, params);
        word = ended(probe.word, params, probe.ticket, BREAKER_FAILURE, NOW).word;
    }
    assert_view(word, BREAKER_OPEN, 0, 0, 31);
    ck_assert_uint_eq(breaker_view(word).until_ns, NOW + 60 * S);
}

TEST(greatest_durations_do_not_overflow)
{
    struct breaker_params params = defaults;
    params.failure_threshold = 1;
    params.recovery_timeout_ns = params.max_recovery_timeout_ns = params.lease_ns = UINT64_MAX;
    params.jitter_ppm = UINT32_MAX;
    uint64_t year = 365 * 24 * 3600 * S;
    uint64_t word = ended(0, params, (struct breaker_ticket){0}, BREAKER_FAILURE, NOW).word;
    ck_assert_int_eq(breaker_admit(word, &params, NOW + year).verdict, BREAKER_REJECT);
    struct breaker_answer probe = breaker_admit(word, &params, NOW + 2 * year);
    ck_assert_int_eq(probe.verdict, BREAKER_PROBE);
    ck_assert_int_eq(breaker_admit(probe.word, &params, NOW + 3 * year).verdict, BREAKER_REJECT);
}

/* --- generations, and words from elsewhere --- */

TEST(generation_grows_at_each_transition)
{
    uint64_t word = opened_word(defaults);
    ck_assert_uint_eq(breaker_view(word).generation, 1);
    struct breaker_answer probe = probe_of(word, defaults);
    ck_assert_uint_eq(breaker_view(probe.word).generation, 2);
    ck_assert_uint_eq(probe.ticket.generation, 2);
    word = ended(probe.word, defaults, probe.ticket, BREAKER_FAILURE, NOW).word;
    ck_assert_uint_eq(breaker_view(word).generation, 3);
    probe = probe_of(word, defaults);
    word = ended(probe.word, defaults, probe.ticket, BREAKER_SUCCESS, NOW).word;
    ck_assert_uint_eq(breaker_view(word).generation, 5);
    ck_assert_uint_eq(breaker_admit(word, &defaults, NOW).ticket.generation, 5);
}

TEST(generations_come_round)
{
    uint64_t word = opened_word(defaults);
    for (int i = 0; i < 5000; i++) {
        uint16_t before = breaker_view(word).generation;
        struct breaker_answer probe = probe_of(word, defaults);
        word = ended(probe.word, defaults, probe.ticket, BREAKER_FAILURE, NOW).word;
        assert_view(word, BREAKER_OPEN, 0, 0, i + 2 < 31 ? (uint32_t)i + 2 : 31);
        ck_assert_uint_eq(breaker_view(word).generation, (before + 2) % 4096);
    }
}

TEST(old_call_does_not_count_in_a_circuit_that_closed_again)
{
    struct breaker_ticket before = breaker_admit(0, &defaults, NOW).ticket;
    struct breaker_answer probe = probe_of(opened_word(defaults), defaults);
    uint64_t word = ended(probe.word, defaults, probe.ticket, BREAKER_SUCCESS, NOW).word;
    ck_assert_uint_eq(ended(word, defaults, before, BREAKER_FAILURE, NOW).word, word);
}

TEST(clock_read_before_the_opening_is_rejected)
{
    uint64_t word = opened_word(defaults);
    ck_assert_int_eq(breaker_admit(word, &defaults, NOW - 10 * S).verdict, BREAKER_REJECT);
    struct breaker_answer probe = probe_of(word, defaults);
    ck_assert_int_eq(breaker_admit(probe.word, &defaults, NOW - 10 * S).verdict, BREAKER_REJECT);
}

/* 37 bits of ms. */
#define ROUND ((UINT64_C(1) << 37) * MS)

TEST(time_comes_round_without_opening_early_or_late)
{
    struct breaker_params touchy = defaults;
    touchy.failure_threshold = 1;
    for (uint64_t now = ROUND - 12 * S; now < ROUND + 3 * S; now += S) {
        struct breaker_change change = ended(0, touchy, (struct breaker_ticket){0}, BREAKER_FAILURE, now);
        ck_assert_uint_eq(change.until_ns, now + 5 * S);
        struct breaker_answer answer = breaker_admit(change.word, &touchy, now + 5 * S - 1);
        ck_assert_int_eq(answer.verdict, BREAKER_REJECT);
        ck_assert_uint_eq(answer.until_ns, now + 5 * S);
        struct breaker_answer probe = breaker_admit(change.word, &touchy, now + 5 * S);
        ck_assert_int_eq(probe.verdict, BREAKER_PROBE);
        ck_assert_int_eq(breaker_admit(probe.word, &touchy, now + 11 * S - MS).verdict, BREAKER_REJECT);
        ck_assert_int_eq(breaker_admit(probe.word, &touchy, now + 11 * S + MS).verdict, BREAKER_PROBE);
    }
}

TEST(given_back_probe_is_out_even_as_time_comes_round)
{
    struct breaker_answer probe = probe_of(opened_word(defaults), defaults);
    uint64_t word = ended(probe.word, defaults, probe.ticket, BREAKER_NEUTRAL, NOW).word;
    ck_assert_int_eq(breaker_admit(word, &defaults, ROUND - 1 * S).verdict, BREAKER_PROBE);
}

TEST(damaged_word_does_not_reject_for_ever)
{
    struct random random = {99};
    uint64_t longest = 60 * S + 61 * S;
    for (int i = 0; i < 100000; i++) {
        uint64_t word = random_next(&random);
        uint64_t now = random_below(&random, ROUND * 2);
        struct breaker_answer answer = breaker_admit(word, &defaults, now);
        if (answer.verdict == BREAKER_REJECT) {
            ck_assert_uint_gt(answer.until_ns, now);
            ck_assert_uint_le(answer.until_ns, now + longest);
            ck_assert_int_eq(breaker_admit(word, &defaults, answer.until_ns).verdict, BREAKER_PROBE);
        }
    }
}

TEST(damaged_state_is_closed)
{
    uint64_t word = UINT64_MAX;
    assert_view(word, BREAKER_CLOSED, 0, 0, 0);
    ck_assert_int_eq(breaker_admit(word, &defaults, NOW).verdict, BREAKER_ADMIT);
    ck_assert_uint_eq(after_calls(word, defaults, BREAKER_SUCCESS, 1), 0);
    assert_view(after_calls(word, defaults, BREAKER_FAILURE, 3), BREAKER_OPEN, 0, 0, 1);
}

TEST(reset_closes_and_forgets)
{
    uint64_t word = opened_word(defaults);
    uint64_t reset = breaker_reset(word);
    assert_view(reset, BREAKER_CLOSED, 0, 0, 0);
    ck_assert_uint_eq(breaker_view(reset).generation, breaker_view(word).generation + 1);
    ck_assert_int_eq(breaker_admit(reset, &defaults, 1).verdict, BREAKER_ADMIT);
    struct breaker_answer probe = probe_of(word, defaults);
    reset = breaker_reset(probe.word);
    ck_assert_uint_eq(ended(reset, defaults, probe.ticket, BREAKER_FAILURE, NOW).word, reset);
}

TEST(states_have_names)
{
    ck_assert_str_eq(breaker_state_name(BREAKER_CLOSED), "closed");
    ck_assert_str_eq(breaker_state_name(BREAKER_OPEN), "open");
    ck_assert_str_eq(breaker_state_name(BREAKER_HALF_OPEN), "half-open");
    ck_assert_str_eq(breaker_state_name((enum breaker_state)3), "unknown");
}

TEST(until_when_it_is_open_is_until_when_it_rejects)
{
    unsigned open = 0;
    struct random random = {7};
    for (int i = 0; i < 200000; i++) {
        struct breaker_params params = defaults;
        params.max_recovery_timeout_ns = random_below(&random, 2) ? 0 : 60 * S;
        uint64_t until_ms = NOW / MS + random_below(&random, 200000) - 100000;
        uint64_t word = random_below(&random, 4) << 62 | random_below(&random, 1u << 25) << 37 | until_ms;
        uint64_t now_ns = NOW + random_below(&random, 2 * MS);
        struct breaker_answer answer = breaker_admit(word, &params, now_ns);
        bool is_open = breaker_view(word).state == BREAKER_OPEN && answer.verdict == BREAKER_REJECT;
        ck_assert_uint_eq(breaker_open_until(word, &params, now_ns), is_open ? answer.until_ns : 0);
        open += is_open;
    }
    ck_assert_uint_gt(open, 10000);
}

SUITE("breaker", until_when_it_is_open_is_until_when_it_rejects, word_zero_is_closed_and_admits,
      failures_in_a_row_open_it, threshold_of_one_opens_at_the_first_failure, success_forgets_failures,
      success_without_failures_leaves_the_word_alone, neutral_leaves_a_closed_word_alone,
      threshold_of_zero_never_opens, threshold_above_the_counter_opens_at_255,
      lowered_threshold_opens_at_the_next_failure, rate_opens_at_its_ratio, rate_is_not_judged_on_few_calls,
      rate_is_judged_on_failures_only, rate_that_is_off_is_not_judged, rate_of_an_empty_window_does_not_open,
      rate_of_full_windows_does_not_overflow, rate_and_threshold_both_open, open_rejects_until_its_time,
      times_are_rounded_up_to_milliseconds, outcome_of_a_call_from_before_the_opening_is_ignored,
      no_ticket_moves_an_open_state, half_open_admits_one_probe, probe_that_succeeds_closes_it,
      probe_that_fails_opens_it_for_longer, one_failed_probe_is_enough_whatever_the_threshold_is,
      recovery_forgets_how_often_it_was_open, probe_without_a_verdict_is_given_back,
      lost_probe_is_replaced_after_its_lease, late_outcome_of_a_lost_probe_is_ignored,
      late_outcome_of_a_probe_nobody_replaced_counts, call_that_is_no_probe_never_moves_a_half_open_state,
      probe_never_moves_a_closed_state, recovery_needs_as_many_successes_as_asked,
      giving_back_a_probe_keeps_the_successes, failed_probe_forgets_the_successes, probe_counts_once,
      open_time_doubles_up_to_the_maximum, open_time_is_lengthened_by_jitter, jitter_survives_at_the_cap,
      jitter_at_the_cap_keeps_the_recovery_timeout,
      maximum_below_the_recovery_timeout_is_the_recovery_timeout, jitter_above_one_counts_as_one,
      openings_saturate, greatest_durations_do_not_overflow, generation_grows_at_each_transition,
      generations_come_round, old_call_does_not_count_in_a_circuit_that_closed_again,
      clock_read_before_the_opening_is_rejected, time_comes_round_without_opening_early_or_late,
      given_back_probe_is_out_even_as_time_comes_round, damaged_word_does_not_reject_for_ever,
      damaged_state_is_closed, reset_closes_and_forgets, states_have_names)
