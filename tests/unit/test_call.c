#include "policy/call.h"

#include <errno.h>

#include "suite.h"

#define MS  UINT64_C(1000000)
#define S   (1000 * MS)
#define NOW (100 * S)

/* Delays of 100, 200, 400 ms. */
static const struct call_params defaults = {
    .attempt_timeout_ns = 1 * S,
    .total_ns = 5 * S,
    .max_retries = 2,
    .retry_on = OUTCOME_BIT(OUTCOME_REFUSED) | OUTCOME_BIT(OUTCOME_TIMEOUT),
    .backoff = {.base_delay_ns = 100 * MS,
                .max_delay_ns = 2 * S,
                .factor_ppm = 2 * PPM_ONE,
                .jitter = JITTER_NONE},
    .rejected_error = ENETDOWN,
    .timeout_error = ETIMEDOUT,
};

static struct call call;

static struct call_step begin(struct call_params params)
{
    return call_begin(&call, &params, BREAKER_ADMIT, 1, NOW);
}

static struct call_step refused(uint64_t now_ns)
{
    return call_ended(&call, OUTCOME_REFUSED, ECONNREFUSED, now_ns);
}

static void assert_going_on(struct call_step step, enum call_action action, uint64_t until_ns)
{
    ck_assert_int_eq(step.action, action);
    ck_assert_uint_eq(step.until_ns, until_ns);
}

static void assert_failed(struct call_step step, enum call_why why, enum outcome outcome, int error)
{
    ck_assert_int_eq(step.action, CALL_DONE);
    ck_assert_int_eq(step.ending, CALL_FAILED);
    ck_assert_int_eq(step.why, why);
    ck_assert_int_eq(step.outcome, outcome);
    ck_assert_int_eq(step.error, error);
    ck_assert_uint_eq(step.until_ns, NEVER);
}

static void assert_same(struct call_step one, struct call_step other)
{
    ck_assert_int_eq(one.action, other.action);
    ck_assert_uint_eq(one.until_ns, other.until_ns);
    ck_assert_int_eq(one.ending, other.ending);
    ck_assert_int_eq(one.why, other.why);
    ck_assert_int_eq(one.outcome, other.outcome);
    ck_assert_int_eq(one.error, other.error);
}

/* --- one attempt --- */

TEST(first_attempt_begins_at_once)
{
    assert_going_on(begin(defaults), CALL_ATTEMPT, NOW + 1 * S);
    ck_assert_uint_eq(call.attempts, 1);
}

TEST(success_ends_the_call)
{
    begin(defaults);
    struct call_step step = call_ended(&call, OUTCOME_SUCCESS, 0, NOW + 1);
    ck_assert_int_eq(step.action, CALL_DONE);
    ck_assert_int_eq(step.ending, CALL_SUCCEEDED);
    ck_assert_int_eq(step.outcome, OUTCOME_SUCCESS);
    ck_assert_int_eq(step.error, 0);
}

TEST(success_has_no_error)
{
    begin(defaults);
    ck_assert_int_eq(call_ended(&call, OUTCOME_SUCCESS, EINPROGRESS, NOW + 1).error, 0);
}

TEST(success_just_after_its_time_is_success)
{
    begin(defaults);
    ck_assert_int_eq(call_ended(&call, OUTCOME_SUCCESS, 0, NOW + 10 * S).ending, CALL_SUCCEEDED);
}

TEST(rejected_call_attempts_nothing)
{
    struct call_step step = call_begin(&call, &defaults, BREAKER_REJECT, 1, NOW);
    ck_assert_int_eq(step.action, CALL_DONE);
    ck_assert_int_eq(step.ending, CALL_REJECTED);
    ck_assert_int_eq(step.error, ENETDOWN);
    ck_assert_int_eq(step.outcome, OUTCOME_OURS);
    ck_assert_uint_eq(call.attempts, 0);
}

TEST(no_timeouts_mean_no_bound)
{
    struct call_params patient = defaults;
    patient.attempt_timeout_ns = patient.total_ns = 0;
    assert_going_on(begin(patient), CALL_ATTEMPT, NEVER);
    assert_going_on(call_due(&call, NOW + 1000000 * S), CALL_ATTEMPT, NEVER);
    assert_going_on(call_due(&call, NEVER), CALL_ATTEMPT, NEVER);
}

TEST(greatest_timeouts_do_not_overflow)
{
    struct call_params patient = defaults;
    patient.attempt_timeout_ns = patient.total_ns = UINT64_MAX;
    assert_going_on(begin(patient), CALL_ATTEMPT, NEVER);
    assert_going_on(refused(NOW + 1), CALL_WAIT, NOW + 1 + 100 * MS);
}

TEST(attempt_is_given_up_at_its_time)
{
    struct call_params once = defaults;
    once.max_retries = 0;
    begin(once);
    assert_failed(call_due(&call, NOW + 1 * S), CALL_RETRIES_USED_UP, OUTCOME_TIMEOUT, ETIMEDOUT);
}

/* --- retries --- */

TEST(failure_is_retried_after_a_delay)
{
    begin(defaults);
    assert_going_on(refused(NOW + 10 * MS), CALL_WAIT, NOW + 110 * MS);
    assert_going_on(call_due(&call, NOW + 110 * MS), CALL_ATTEMPT, NOW + 1110 * MS);
    ck_assert_uint_eq(call.attempts, 2);
}

TEST(waiting_step_tells_what_happened)
{
    begin(defaults);
    struct call_step step = refused(NOW);
    ck_assert_int_eq(step.outcome, OUTCOME_REFUSED);
    ck_assert_int_eq(step.error, ECONNREFUSED);
}

TEST(timeout_is_retried_like_any_failure)
{
    begin(defaults);
    assert_going_on(call_due(&call, NOW + 1 * S), CALL_WAIT, NOW + 1100 * MS);
}

TEST(delays_grow_from_retry_to_retry)
{
    begin(defaults);
    refused(NOW);
    call_due(&call, NOW + 100 * MS);
    assert_going_on(refused(NOW + 100 * MS), CALL_WAIT, NOW + 300 * MS);
}

TEST(decorrelated_delays_follow_from_each_other)
{
    struct call_params params = defaults;
    params.backoff.jitter = JITTER_DECORRELATED;
    params.max_retries = 50;
    params.total_ns = 0;
    begin(params);
    uint64_t now = NOW, longest = 0;
    for (int i = 0; i < 50; i++) {
        struct call_step step = refused(now);
        ck_assert_uint_ge(step.until_ns - now, 100 * MS);
        longest = step.until_ns - now > longest ? step.until_ns - now : longest;
        now = step.until_ns;
        call_due(&call, now);
    }
    ck_assert_uint_gt(longest, 300 * MS);
}

TEST(zero_delay_still_asks_the_budget)
{
    struct call_params params = defaults;
    params.backoff.base_delay_ns = 0;
    begin(params);
    assert_going_on(refused(NOW), CALL_WAIT, NOW);
    assert_going_on(call_due(&call, NOW), CALL_ATTEMPT, NOW + 1 * S);
}

TEST(retries_are_counted)
{
    begin(defaults);
    for (uint32_t retry = 1; retry <= 2; retry++) {
        struct call_step wait = refused(NOW + retry * S);
        ck_assert_int_eq(wait.action, CALL_WAIT);
        ck_assert_int_eq(call_due(&call, wait.until_ns).action, CALL_ATTEMPT);
        ck_assert_uint_eq(call.attempts, retry + 1);
    }
    assert_failed(refused(NOW + 3 * S), CALL_RETRIES_USED_UP, OUTCOME_REFUSED, ECONNREFUSED);
}

TEST(success_of_a_retry_is_success)
{
    begin(defaults);
    call_due(&call, refused(NOW).until_ns);
    struct call_step step = call_ended(&call, OUTCOME_SUCCESS, 0, NOW + 1 * S);
    ck_assert_int_eq(step.ending, CALL_SUCCEEDED);
    ck_assert_int_eq(step.error, 0);
    ck_assert_int_eq(call_report(&step), BREAKER_SUCCESS);
}

TEST(last_error_is_the_error)
{
    struct call_params once = defaults;
    once.max_retries = 1;
    begin(once);
    call_due(&call, refused(NOW).until_ns);
    assert_failed(call_due(&call, NOW + 1100 * MS), CALL_RETRIES_USED_UP, OUTCOME_TIMEOUT, ETIMEDOUT);
}

TEST(what_is_not_in_retry_on_is_not_retried)
{
    begin(defaults);
    assert_failed(call_ended(&call, OUTCOME_RESET, ECONNRESET, NOW), CALL_NOT_RETRYABLE, OUTCOME_RESET,
                  ECONNRESET);
}

TEST(answers_and_our_own_faults_are_never_retried)
{
    struct call_params eager = defaults;
    eager.retry_on = UINT32_MAX;
    begin(eager);
    assert_failed(call_ended(&call, OUTCOME_OURS, EMFILE, NOW), CALL_NOT_RETRYABLE, OUTCOME_OURS, EMFILE);
    begin(eager);
    assert_failed(call_ended(&call, OUTCOME_ABSENT, -2, NOW), CALL_NOT_RETRYABLE, OUTCOME_ABSENT, -2);
}

TEST(probe_is_one_attempt)
{
    call_begin(&call, &defaults, BREAKER_PROBE, 1, NOW);
    assert_failed(refused(NOW), CALL_PROBE_FAILED, OUTCOME_REFUSED, ECONNREFUSED);
    ck_assert_uint_eq(call.attempts, 1);
}

TEST(budget_that_is_used_up_ends_the_call)
{
    begin(defaults);
    refused(NOW);
    assert_failed(call_denied(&call), CALL_BUDGET_USED_UP, OUTCOME_REFUSED, ECONNREFUSED);
}

TEST(an_interrupted_wait_ends_the_call)
{
    begin(defaults);
    refused(NOW);
    assert_failed(call_interrupted(&call), CALL_INTERRUPTED, OUTCOME_REFUSED, ECONNREFUSED);
}

/* --- total --- */

TEST(total_bounds_the_only_attempt)
{
    struct call_params hasty = defaults;
    hasty.total_ns = 300 * MS;
    assert_going_on(begin(hasty), CALL_ATTEMPT, NOW + 300 * MS);
    assert_failed(call_due(&call, NOW + 300 * MS), CALL_TIME_USED_UP, OUTCOME_TIMEOUT, ETIMEDOUT);
}

TEST(total_bounds_an_attempt_without_timeout)
{
    struct call_params params = defaults;
    params.attempt_timeout_ns = 0;
    assert_going_on(begin(params), CALL_ATTEMPT, NOW + 5 * S);
}

TEST(total_bounds_the_last_attempt)
{
    struct call_params params = defaults;
    params.total_ns = 1500 * MS;
    begin(params);
    call_due(&call, NOW + 1 * S);
    assert_going_on(call_due(&call, NOW + 1100 * MS), CALL_ATTEMPT, NOW + 1500 * MS);
    assert_failed(call_due(&call, NOW + 1500 * MS), CALL_TIME_USED_UP, OUTCOME_TIMEOUT, ETIMEDOUT);
}

TEST(wait_past_total_is_not_begun)
{
    struct call_params params = defaults;
    params.total_ns = 1 * S;
    begin(params);
    assert_failed(refused(NOW + 950 * MS), CALL_TIME_USED_UP, OUTCOME_REFUSED, ECONNREFUSED);
}

TEST(wait_up_to_total_is_not_begun)
{
    struct call_params params = defaults;
    params.total_ns = 1 * S;
    begin(params);
    assert_failed(refused(NOW + 900 * MS), CALL_TIME_USED_UP, OUTCOME_REFUSED, ECONNREFUSED);
    begin(params);
    assert_going_on(refused(NOW + 900 * MS - 1), CALL_WAIT, NOW + 1 * S - 1);
}

TEST(sleeper_that_wakes_after_total_attempts_nothing)
{
    begin(defaults);
    refused(NOW);
    assert_failed(call_due(&call, NOW + 5 * S), CALL_TIME_USED_UP, OUTCOME_REFUSED, ECONNREFUSED);
    ck_assert_uint_eq(call.attempts, 1);
}

TEST(wait_without_end_is_not_begun)
{
    struct call_params params = defaults;
    params.total_ns = 0;
    params.backoff.base_delay_ns = UINT64_MAX;
    params.backoff.max_delay_ns = 0;
    begin(params);
    assert_failed(refused(NOW), CALL_TIME_USED_UP, OUTCOME_REFUSED, ECONNREFUSED);
}

/* --- at the wrong moment --- */

TEST(due_too_early_repeats_the_step)
{
    struct call_step step = begin(defaults);
    assert_same(call_due(&call, NOW + 1 * S - 1), step);
    step = refused(NOW);
    assert_same(call_due(&call, NOW + 100 * MS - 1), step);
    ck_assert_uint_eq(call.attempts, 1);
}

TEST(ended_while_waiting_changes_nothing)
{
    begin(defaults);
    struct call_step step = refused(NOW);
    assert_same(call_ended(&call, OUTCOME_SUCCESS, 0, NOW), step);
    assert_going_on(call_due(&call, NOW + 100 * MS), CALL_ATTEMPT, NOW + 1100 * MS);
}

TEST(denied_during_an_attempt_changes_nothing)
{
    struct call_step step = begin(defaults);
    assert_same(call_denied(&call), step);
    assert_same(call_interrupted(&call), step);
    ck_assert_int_eq(refused(NOW).action, CALL_WAIT);
}

TEST(done_stays_done)
{
    begin(defaults);
    struct call_step step = call_ended(&call, OUTCOME_RESET, ECONNRESET, NOW);
    assert_same(refused(NOW), step);
    assert_same(call_due(&call, NOW + 100 * S), step);
    assert_same(call_due(&call, NEVER), step);
    assert_same(call_denied(&call), step);
}

TEST(rejected_stays_rejected)
{
    struct call_step step = call_begin(&call, &defaults, BREAKER_REJECT, 1, NOW);
    assert_same(call_ended(&call, OUTCOME_SUCCESS, 0, NOW), step);
    assert_same(call_due(&call, NEVER), step);
    assert_same(call_denied(&call), step);
}

TEST(same_seed_gives_same_delays)
{
    struct call_params params = defaults;
    params.backoff.jitter = JITTER_FULL;
    call_begin(&call, &params, BREAKER_ADMIT, 7, NOW);
    uint64_t first = refused(NOW).until_ns;
    call_begin(&call, &params, BREAKER_ADMIT, 7, NOW);
    ck_assert_uint_eq(refused(NOW).until_ns, first);
    call_begin(&call, &params, BREAKER_ADMIT, 8, NOW);
    ck_assert_uint_ne(refused(NOW).until_ns, first);
}

/* --- what the breaker is told --- */

TEST(breaker_learns_from_success_and_failure_only)
{
    struct call_step done = {.action = CALL_DONE, .ending = CALL_SUCCEEDED, .outcome = OUTCOME_SUCCESS};
    ck_assert_int_eq(call_report(&done), BREAKER_SUCCESS);
    done.ending = CALL_FAILED;
    done.outcome = OUTCOME_TIMEOUT;
    ck_assert_int_eq(call_report(&done), BREAKER_FAILURE);
    done.outcome = OUTCOME_OURS;
    ck_assert_int_eq(call_report(&done), BREAKER_NEUTRAL);
    done.outcome = OUTCOME_ABSENT;
    ck_assert_int_eq(call_report(&done), BREAKER_NEUTRAL);
    done.ending = CALL_REJECTED;
    done.outcome = OUTCOME_REFUSED;
    ck_assert_int_eq(call_report(&done), BREAKER_NEUTRAL);
}

TEST(call_that_is_abandoned_is_neutral)
{
    begin(defaults);
    struct call_step step = refused(NOW);
    ck_assert_int_eq(call_report(&step), BREAKER_NEUTRAL);
}

/* --- siblings --- */

static void assert_attempt_at(struct call_step step, uint32_t address, uint64_t until_ns)
{
    assert_going_on(step, CALL_ATTEMPT, until_ns);
    ck_assert_uint_eq(step.address, address);
}

static struct call_step begin_with_siblings(uint32_t siblings)
{
    struct call_params params = defaults;
    params.siblings = siblings;
    return begin(params);
}

TEST(siblings_are_tried_at_once_and_in_their_order)
{
    assert_attempt_at(begin_with_siblings(2), 0, NOW + 1 * S);
    assert_attempt_at(refused(NOW + 1), 1, NOW + 1 + 1 * S);
    assert_attempt_at(refused(NOW + 2), 2, NOW + 2 + 1 * S);
}

TEST(a_sibling_that_answers_ends_the_call)
{
    begin_with_siblings(2);
    refused(NOW);
    struct call_step step = call_ended(&call, OUTCOME_SUCCESS, 0, NOW + 1);
    ck_assert_int_eq(step.action, CALL_DONE);
    ck_assert_int_eq(step.ending, CALL_SUCCEEDED);
    ck_assert_uint_eq(step.address, 1);
}

TEST(a_sibling_is_tried_when_an_attempt_was_cut_short)
{
    begin_with_siblings(1);
    assert_attempt_at(call_due(&call, NOW + 1 * S), 1, NOW + 2 * S);
}

TEST(when_all_addresses_have_failed_the_next_round_begins_after_a_wait)
{
    begin_with_siblings(1);
    refused(NOW);
    assert_going_on(refused(NOW), CALL_WAIT, NOW + 100 * MS);
    assert_attempt_at(call_due(&call, NOW + 100 * MS), 0, NOW + 100 * MS + 1 * S);
    assert_attempt_at(refused(NOW + 100 * MS), 1, NOW + 100 * MS + 1 * S);
    assert_going_on(refused(NOW + 100 * MS), CALL_WAIT, NOW + 300 * MS);
}

TEST(siblings_do_not_count_as_retries)
{
    begin_with_siblings(2);
    uint64_t now = NOW;
    struct call_step step;
    while ((step = call.action == CALL_WAIT ? call_due(&call, now) : refused(now)).action != CALL_DONE)
        if (step.action == CALL_WAIT)
            now = step.until_ns;
    assert_failed(step, CALL_RETRIES_USED_UP, OUTCOME_REFUSED, ECONNREFUSED);
    ck_assert_uint_eq(call.rounds, 3);
    ck_assert_uint_eq(call.attempts, 9);
    ck_assert_uint_eq(now, NOW + 300 * MS);
}

TEST(without_retries_each_address_gets_one_attempt)
{
    struct call_params params = defaults;
    params.siblings = 1;
    params.max_retries = 0;
    begin(params);
    assert_attempt_at(refused(NOW), 1, NOW + 1 * S);
    assert_failed(refused(NOW), CALL_RETRIES_USED_UP, OUTCOME_REFUSED, ECONNREFUSED);
}

TEST(what_may_not_be_retried_is_not_tried_at_siblings)
{
    begin_with_siblings(3);
    assert_failed(call_ended(&call, OUTCOME_OURS, EINTR, NOW), CALL_NOT_RETRYABLE, OUTCOME_OURS, EINTR);
    begin_with_siblings(3);
    assert_failed(call_ended(&call, OUTCOME_RESET, ECONNRESET, NOW), CALL_NOT_RETRYABLE, OUTCOME_RESET,
                  ECONNRESET);
}

TEST(a_probe_has_no_siblings)
{
    struct call_params params = defaults;
    params.siblings = 2;
    call_begin(&call, &params, BREAKER_PROBE, 1, NOW);
    assert_failed(refused(NOW), CALL_PROBE_FAILED, OUTCOME_REFUSED, ECONNREFUSED);
}

TEST(total_bounds_siblings)
{
    struct call_params params = defaults;
    params.siblings = 16;
    params.total_ns = 1500 * MS;
    begin(params);
    assert_attempt_at(call_due(&call, NOW + 1 * S), 1, NOW + 1500 * MS);
    assert_failed(call_due(&call, NOW + 1500 * MS), CALL_TIME_USED_UP, OUTCOME_TIMEOUT, ETIMEDOUT);
}

TEST(no_more_siblings_are_tried_than_there_may_be)
{
    begin_with_siblings(UINT32_MAX);
    for (uint32_t address = 1; address <= CALL_SIBLINGS_MAX; address++)
        assert_attempt_at(refused(NOW), address, NOW + 1 * S);
    assert_going_on(refused(NOW), CALL_WAIT, NOW + 100 * MS);
}

TEST(a_sibling_that_is_tried_cannot_be_denied)
{
    begin_with_siblings(1);
    refused(NOW);
    assert_attempt_at(call_denied(&call), 1, NOW + 1 * S);
}

SUITE("call", first_attempt_begins_at_once, success_ends_the_call, success_has_no_error,
      success_just_after_its_time_is_success, rejected_call_attempts_nothing, no_timeouts_mean_no_bound,
      greatest_timeouts_do_not_overflow, attempt_is_given_up_at_its_time, failure_is_retried_after_a_delay,
      waiting_step_tells_what_happened, timeout_is_retried_like_any_failure, delays_grow_from_retry_to_retry,
      decorrelated_delays_follow_from_each_other, zero_delay_still_asks_the_budget, retries_are_counted,
      success_of_a_retry_is_success, last_error_is_the_error, what_is_not_in_retry_on_is_not_retried,
      answers_and_our_own_faults_are_never_retried, probe_is_one_attempt,
      budget_that_is_used_up_ends_the_call, total_bounds_the_only_attempt,
      total_bounds_an_attempt_without_timeout, total_bounds_the_last_attempt, wait_past_total_is_not_begun,
      wait_up_to_total_is_not_begun, sleeper_that_wakes_after_total_attempts_nothing,
      wait_without_end_is_not_begun, due_too_early_repeats_the_step, ended_while_waiting_changes_nothing,
      an_interrupted_wait_ends_the_call, denied_during_an_attempt_changes_nothing, done_stays_done,
      rejected_stays_rejected, same_seed_gives_same_delays, breaker_learns_from_success_and_failure_only,
      call_that_is_abandoned_is_neutral, siblings_are_tried_at_once_and_in_their_order,
      a_sibling_that_answers_ends_the_call, a_sibling_is_tried_when_an_attempt_was_cut_short,
      when_all_addresses_have_failed_the_next_round_begins_after_a_wait, siblings_do_not_count_as_retries,
      without_retries_each_address_gets_one_attempt, what_may_not_be_retried_is_not_tried_at_siblings,
      a_probe_has_no_siblings, total_bounds_siblings, no_more_siblings_are_tried_than_there_may_be,
      a_sibling_that_is_tried_cannot_be_denied)
