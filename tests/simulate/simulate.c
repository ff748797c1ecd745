/* Runs the policy core through virtual time: threads of several processes make calls to one host, share its breaker,
 * failure window and retry budget, lose races, die without a word and come back late, with random parameters and a
 * host that goes up and down. After every move the rules of design.md are checked against a model that remembers
 * plainly (64-bit counters, whole times) what the core packs into words.
 *
 *     simulate [steps [seed]]
 *
 * Exit 0: "N steps, seed S, 0 violations", and what was met on the way. Exit 1: the first violation, with the moves
 * that led to it. The same seed gives the same run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/budget.h"
#include "policy/call.h"
#include "policy/credit.h"

#define US UINT64_C(1000)
#define MS (1000 * US)
#define S  (1000 * MS)

#define THREADS        8
#define HISTORY        20
#define OUTCOMES       (OUTCOME_OURS + 1)
#define TIMEOUT_ERROR  1000 /* attempts that end by themselves have errors below */
#define REJECTED_ERROR 2000

/* A clock that was read longer ago is read again: the breaker promises its order for readers of the last minute. */
#define STALE_MAX (30 * S)

/* Generations of 12 bits come round: a ticket that old would be taken for a new one, once in 4096. */
#define GENERATIONS 4096

/* --- the world, begun anew with other parameters every few thousand steps --- */

enum phase {
    IDLE,
    ADMITTING, /* has read the clock */
    ASKED,     /* has an answer to the word it saw, and has not published it */
    RUNNING,   /* its call is under way */
    LOST,      /* died, or hangs */
    REPORTING, /* its call is over, and it has read the clock */
    CHANGING,  /* has a new word, and has not published it */
    PHASES
};

struct thread {
    enum phase phase;
    uint64_t clock; /* as it last read it */
    uint64_t seen;  /* the breaker's word, likewise */
    struct breaker_answer answer;
    struct breaker_change change;
    struct window_sum recent;

    struct call call;
    struct call_step step;
    uint64_t begun;
    uint32_t attempts;
    uint32_t rounds;          /* over the addresses */
    uint32_t address;         /* that was tried last */
    bool has_waited;          /* since the last attempt */
    bool is_single;           /* has used up a credit */
    enum outcome fed_outcome; /* what the last attempt was said to have come to */
    int fed_error;

    struct breaker_ticket ticket;
    uint64_t epoch;    /* the model's, when the ticket was given */
    uint64_t probe_at; /* for a probe: when its lease began */
    bool has_probe;    /* has not reported yet */
};

/* The breaker as one would write it down without counting bits. */
struct model {
    enum breaker_state state;
    uint64_t epoch; /* changes with each transition and each probe */
    uint32_t failures, successes, openings;
    uint64_t open_until;
    uint64_t probe_at;
    bool is_probe_out;
};

/* A window, likewise. */
struct tally {
    struct {
        uint64_t tick;
        struct window_sum sum;
    } ticks[WINDOW_BUCKETS];
    unsigned count;
};

static struct {
    struct breaker_params breaker;
    struct call_params call;
    struct budget_params budget;

    uint64_t now;
    uint64_t word;
    uint64_t failures[WINDOW_BUCKETS];
    uint64_t retries[WINDOW_BUCKETS];
    struct thread threads[THREADS];
    uint32_t success_ppm; /* how the host feels */

    struct model model;
    struct tally failures_tally;
    struct tally retries_tally;

    uint64_t credits;
    struct {
        uint32_t count;
        uint64_t until;
    } credits_left; /* as one would write it down */
} world;

static struct random dice;
static uint64_t step_number;

/* --- what was met: a simulation that never sees a thing proves nothing about it --- */

enum sight {
    OPENED,
    REOPENED,
    RECOVERED,
    OPENED_BY_RATE,
    REJECTIONS,
    PROBES_REPLACED,
    PROBES_GIVEN_BACK,
    LATE_OUTCOMES,
    RACES_LOST,
    RETRIES,
    BUDGET_DENIALS,
    SIBLINGS_TRIED,
    CUT_BY_TOTAL,
    TIME_USED_UP,
    OVERSLEPT,
    RESETS,
    SINGLE_ATTEMPTS,
    CREDITS_ENDED,
    SIGHTS
};
static uint64_t sights[SIGHTS];
static const char *const sight_names[SIGHTS] = {
    "opened",          "reopened",          "recovered",     "opened by rate", "rejections",
    "probes replaced", "probes given back", "late outcomes", "races lost",     "retries",
    "budget denials",  "siblings tried",    "cut by total",  "time used up",   "overslept",
    "resets",          "single attempts",   "credits ended",
};

/* --- history --- */

struct note {
    uint64_t step, now, word, detail;
    unsigned thread;
    const char *what;
};
static struct note history[HISTORY];
static uint64_t notes;

static void note(const struct thread *thread, const char *what, uint64_t detail)
{
    history[notes++ % HISTORY] = (struct note){
        .step = step_number,
        .now = world.now,
        .word = world.word,
        .detail = detail,
        .thread = (unsigned)(thread - world.threads),
        .what = what,
    };
}

static void print_note(const struct note *past)
{
    struct breaker_view view = breaker_view(past->word);
    printf("  step %" PRIu64 " at %" PRIu64 " ns, thread %u: %s %" PRIu64
           "; word: %s, generation %u, %u failures, "
           "%u successes, %u openings, until %" PRIu64 " ns\n",
           past->step, past->now, past->thread, past->what, past->detail, breaker_state_name(view.state),
           view.generation, view.failures, view.successes, view.openings, view.until_ns);
}

static void print_params(void)
{
    printf("  breaker: threshold %u, ratio %u ppm of %u in %" PRIu64 " ns, open %" PRIu64 "..%" PRIu64
           " ns, jitter %u ppm, successes %u, lease %" PRIu64 " ns\n",
           world.breaker.failure_threshold, world.breaker.failure_ratio_ppm, world.breaker.minimum_calls,
           world.breaker.window_ns, world.breaker.recovery_timeout_ns, world.breaker.max_recovery_timeout_ns,
           world.breaker.jitter_ppm, world.breaker.success_threshold, world.breaker.lease_ns);
    printf("  call: attempt %" PRIu64 " ns, total %" PRIu64
           " ns, %u siblings, %u retries on %#x, delay %" PRIu64 "..%" PRIu64
           " ns, factor %u ppm, jitter %u\n",
           world.call.attempt_timeout_ns, world.call.total_ns, world.call.siblings, world.call.max_retries,
           world.call.retry_on, world.call.backoff.base_delay_ns, world.call.backoff.max_delay_ns,
           world.call.backoff.factor_ppm, world.call.backoff.jitter);
    printf("  budget: %u ppm, %u/s, %" PRIu64 " ns\n", world.budget.ratio_ppm, world.budget.floor_per_s,
           world.budget.window_ns);
}

static void demand(bool holds, const char *rule)
{
    if (holds)
        return;
    printf("violation at step %" PRIu64 ": %s\n", step_number, rule);
    print_params();
    for (uint64_t i = notes < HISTORY ? 0 : notes - HISTORY; i < notes; i++)
        print_note(&history[i % HISTORY]);
    exit(1);
}

/* --- chance --- */

static uint64_t below(uint64_t bound)
{
    return random_below(&dice, bound);
}

static uint64_t between(uint64_t least, uint64_t most)
{
    return least + below(most - least + 1);
}

static bool one_in(uint64_t many)
{
    return below(many) == 0;
}

/* Of any magnitude up to `most`, whole or not. */
static uint64_t duration(uint64_t most)
{
    uint64_t drawn = between(1, most >> below(8));
    return drawn > MS && one_in(2) ? drawn / MS * MS : drawn;
}

static void begin_params(void)
{
    uint64_t recovery = MS + duration(10 * S);
    world.breaker = (struct breaker_params){
        .failure_threshold = one_in(8)    ? 0
                             : one_in(50) ? 300
                                          : (uint32_t)between(1, 6),
        .failure_ratio_ppm = one_in(2) ? 0 : (uint32_t)between(1, PPM_ONE),
        .minimum_calls = (uint32_t)below(15),
        .window_ns = between(MS, 10 * S),
        .recovery_timeout_ns = recovery,
        .max_recovery_timeout_ns = one_in(4) ? below(recovery) : recovery * between(1, 20),
        .jitter_ppm = one_in(3) ? 0 : (uint32_t)between(1, PPM_ONE),
        .success_threshold = (uint32_t)between(1, 4),
        .lease_ns = MS + duration(8 * S),
    };
    world.call = (struct call_params){
        .attempt_timeout_ns = one_in(6) ? 0 : duration(5 * S),
        .total_ns = one_in(6) ? 0 : duration(15 * S),
        .max_retries = (uint32_t)below(6),
        .siblings = one_in(2)    ? 0
                    : one_in(16) ? (uint32_t)below(40)
                                 : (uint32_t)below(4),
        .retry_on = one_in(2) ? UINT32_MAX : (uint32_t)below(OUTCOME_BIT(OUTCOMES)),
        .backoff = {.base_delay_ns = one_in(8) ? 0 : duration(500 * MS),
                    .max_delay_ns = one_in(16) ? 0 : duration(2 * S),
                    .factor_ppm = (uint32_t)between(PPM_ONE, 4 * PPM_ONE),
                    .jitter = (enum jitter)below(JITTER_NONE + 1)},
        .rejected_error = REJECTED_ERROR,
        .timeout_error = TIMEOUT_ERROR,
    };
    world.budget = (struct budget_params){
        .ratio_ppm = (uint32_t)below(PPM_ONE),
        .floor_per_s = (uint32_t)below(4),
        .window_ns = one_in(4) ? 0 : between(10000, 10000000) * US, /* the budget counts in whole us */
    };
}

/* Just booted, up for a while, or about to see one of the counters in the words come round. */
static uint64_t begin_time(void)
{
    switch (below(4)) {
    case 0:
        return below(10 * S);
    case 1:
        return (UINT64_C(1) << 37) * MS - below(60 * S);
    case 2:
        return (world.breaker.window_ns / WINDOW_BUCKETS << 24) - below(10 * S);
    default:
        return between(1, 300) * 24 * 3600 * S + below(S);
    }
}

static void begin_world(void)
{
    memset(&world, 0, sizeof world);
    begin_params();
    world.now = begin_time();
    world.success_ppm = (uint32_t)below(PPM_ONE);
}

/* --- windows --- */

static struct window_sum tally_total(struct tally *tally, uint64_t window_ns)
{
    uint64_t tick = world.now / (window_ns / WINDOW_BUCKETS);
    struct window_sum total = {0};
    unsigned kept = 0;
    for (unsigned i = 0; i < tally->count; i++) {
        if (tally->ticks[i].tick + WINDOW_BUCKETS <= tick)
            continue;
        total.events += tally->ticks[i].sum.events;
        total.marked += tally->ticks[i].sum.marked;
        tally->ticks[kept++] = tally->ticks[i];
    }
    tally->count = kept;
    return total;
}

static struct window_sum counted(const uint64_t words[], struct tally *tally, uint64_t window_ns)
{
    struct window_sum total = window_total(words, window_ns, world.now);
    struct window_sum expected = tally_total(tally, window_ns);
    demand(total.events == expected.events && total.marked == expected.marked,
           "a window holds what happened in its time");
    return total;
}

static void count(uint64_t words[], struct tally *tally, uint64_t window_ns, struct window_sum add)
{
    counted(words, tally, window_ns);
    uint64_t its_tick = window_tick(window_ns, world.now), *word = &words[window_bucket(its_tick)];
    *word = window_add(*word, its_tick, add);
    uint64_t tick = world.now / (window_ns / WINDOW_BUCKETS);
    if (tally->count == 0 || tally->ticks[tally->count - 1].tick != tick) {
        tally->ticks[tally->count].tick = tick;
        tally->ticks[tally->count++].sum = (struct window_sum){0};
    }
    tally->ticks[tally->count - 1].sum.events += add.events;
    tally->ticks[tally->count - 1].sum.marked += add.marked;
}

/* --- credits --- */

static uint32_t siblings(const struct thread *thread)
{
    uint32_t known = thread->is_single ? 0 : world.call.siblings;
    return known < CALL_SIBLINGS_MAX ? known : CALL_SIBLINGS_MAX;
}

static uint32_t max_retries(const struct thread *thread)
{
    return thread->is_single ? 0 : world.call.max_retries;
}

#define CREDIT_KEY  UINT64_C(0x123456789abcdef0)
#define CREDIT_TICK (S / 64) /* times of credits are no finer */

/* How long the credits of a call last. */
static uint64_t lasting(void)
{
    uint64_t hour = 3600 * S, total = world.call.total_ns ? world.call.total_ns : 60 * S;
    return total < hour ? total : hour;
}

static bool use_credit(void)
{
    struct credit_answer answer = credit_use(world.credits, CREDIT_KEY, world.now);
    bool is_left = world.credits_left.count > 0;
    demand(!answer.is_used || is_left, "no credit is used that was not left");
    demand(!answer.is_used || world.now < world.credits_left.until + 2 * CREDIT_TICK,
           "credits end with total");
    demand(answer.is_used || !is_left || world.now >= world.credits_left.until,
           "a call after one that was retried is a single attempt");
    sights[SINGLE_ATTEMPTS] += answer.is_used;
    sights[CREDITS_ENDED] += is_left && !answer.is_used;
    world.credits_left.count -= answer.is_used;
    world.credits = answer.word;
    return answer.is_used;
}

static void leave_credits(const struct thread *thread)
{
    uint32_t addresses = siblings(thread) + 1;
    uint32_t earned = credit_earned(&thread->call, addresses);
    bool is_retried = thread->step.ending == CALL_FAILED && thread->attempts > 1;
    demand(earned == (is_retried ? (addresses > 2 ? addresses - 1 : 1) : 0),
           "whoever failed after retries leaves a credit for each other address, and nobody else does");
    if (!earned)
        return;
    world.credits = credit_left(CREDIT_KEY, earned, world.call.total_ns, world.now);
    world.credits_left.count = earned;
    world.credits_left.until = world.now + lasting();
}

/* --- one call --- */

static uint64_t end_of_call(const struct thread *thread)
{
    return world.call.total_ns ? thread->begun + world.call.total_ns : NEVER;
}

static uint64_t longest_delay(void)
{
    return world.call.backoff.max_delay_ns ? world.call.backoff.max_delay_ns : UINT64_C(1) << 62;
}

static bool may_be_retried(const struct thread *thread)
{
    return outcome_is_failure(thread->fed_outcome) &&
           world.call.retry_on & OUTCOME_BIT(thread->fed_outcome) && !thread->ticket.is_probe;
}

static bool is_sibling_due(const struct thread *thread)
{
    return may_be_retried(thread) && thread->address < siblings(thread);
}

static bool is_worth_a_retry(const struct thread *thread)
{
    return may_be_retried(thread) && thread->rounds <= max_retries(thread);
}

/* The program's own address, or the one after the last; never one twice in a round, nor one left out. */
static void check_address(struct thread *thread)
{
    bool is_first = thread->attempts == 1;
    if (thread->step.address == 0) {
        thread->rounds++;
        demand(is_first || thread->has_waited, "a new round begins after a wait");
    } else {
        sights[SIBLINGS_TRIED]++;
        demand(thread->step.address == thread->address + 1, "addresses are tried in their order");
        demand(!is_first && !thread->has_waited, "a sibling is tried at once");
        demand(thread->step.address <= siblings(thread), "only siblings that there are are tried");
        demand(is_sibling_due(thread), "a sibling is tried only after what may be retried");
    }
    thread->address = thread->step.address;
    thread->has_waited = false;
}

static void check_attempt(struct thread *thread)
{
    thread->attempts++;
    note(thread, "attempts until", thread->step.until_ns);
    uint64_t timeout = world.call.attempt_timeout_ns;
    uint64_t until = timeout ? world.now + timeout : NEVER;
    uint64_t end = end_of_call(thread);
    check_address(thread);
    demand(thread->rounds <= max_retries(thread) + 1, "rounds do not exceed max_retries + 1");
    demand(thread->attempts <= thread->rounds * (siblings(thread) + 1), "a round tries each address once");
    demand(thread->call.attempts == thread->attempts && thread->call.rounds == thread->rounds,
           "attempts and rounds are counted");
    demand(!thread->ticket.is_probe || thread->attempts == 1, "a probe is one attempt");
    demand(world.now < end, "no attempt begins after total");
    demand(thread->step.until_ns <= end, "total bounds each attempt");
    demand(thread->step.until_ns == (until < end ? until : end), "an attempt has its full time");
    demand(thread->step.until_ns > world.now, "an attempt has some time");
}

static void check_done(struct thread *thread)
{
    struct call_step *step = &thread->step;
    note(thread, "is done with error", (uint64_t)step->error);
    demand(step->error == thread->fed_error, "a call ends with the error of its last attempt");
    demand(step->outcome == thread->fed_outcome, "a call ends with the outcome of its last attempt");
    demand((step->ending == CALL_SUCCEEDED) == (step->outcome == OUTCOME_SUCCESS), "success is success");
    demand(step->ending != CALL_REJECTED, "what was attempted was not rejected");
    enum breaker_report report = call_report(step);
    demand((report == BREAKER_SUCCESS) == (step->ending == CALL_SUCCEEDED),
           "the breaker hears of each success");
    demand((report == BREAKER_FAILURE) == outcome_is_failure(step->outcome),
           "the breaker hears of their faults only");
    if (step->ending == CALL_FAILED && step->why == CALL_TIME_USED_UP) {
        sights[TIME_USED_UP]++;
        /* With every delay it would have been too late, or with the one that was drawn. */
        uint64_t needed = is_sibling_due(thread) ? 0 : longest_delay();
        demand(end_of_call(thread) <= world.now + needed, "a retry that fits into total is made");
    } else if (step->ending == CALL_FAILED && step->why != CALL_BUDGET_USED_UP) {
        demand(!is_worth_a_retry(thread), "what may be retried is retried");
        demand(!is_sibling_due(thread), "no sibling is left untried");
    }
    leave_credits(thread);
    thread->phase = REPORTING;
    thread->clock = world.now;
}

/* A retry comes next, if the budget has it. */
static void check_wait(struct thread *thread)
{
    note(thread, "waits until", thread->step.until_ns);
    demand(is_worth_a_retry(thread), "only what may be retried is retried");
    demand(!is_sibling_due(thread), "nobody waits while a sibling is untried");
    thread->has_waited = true;
    demand(thread->step.until_ns >= world.now, "a wait ends in the future");
    demand(thread->step.until_ns < end_of_call(thread), "no wait goes past total");
    demand(thread->step.until_ns - world.now <= longest_delay(), "no delay is longer than max_delay");
    if (world.budget.window_ns == 0)
        return;
    struct window_sum total = counted(world.retries, &world.retries_tally, world.budget.window_ns);
    unsigned __int128 earned = (unsigned __int128)total.events * world.budget.ratio_ppm * S +
                               (unsigned __int128)world.budget.floor_per_s * world.budget.window_ns * PPM_ONE;
    bool is_left = (unsigned __int128)total.marked * PPM_ONE * S < earned;
    bool is_allowed = budget_allows(&world.budget, total);
    demand(is_left || !is_allowed, "the retry budget is kept");
    demand(is_allowed || !is_left, "the retry budget is given");
    if (is_allowed) {
        sights[RETRIES]++;
        count(world.retries, &world.retries_tally, world.budget.window_ns, (struct window_sum){.marked = 1});
        return;
    }
    sights[BUDGET_DENIALS]++;
    thread->step = call_denied(&thread->call);
    demand(thread->step.action == CALL_DONE && thread->step.why == CALL_BUDGET_USED_UP,
           "a retry that is denied ends the call");
    check_done(thread);
}

static void take(struct thread *thread, struct call_step step)
{
    thread->step = step;
    switch (step.action) {
    case CALL_ATTEMPT:
        check_attempt(thread);
        break;
    case CALL_WAIT:
        check_wait(thread);
        break;
    case CALL_DONE:
        check_done(thread);
        break;
    }
}

static void check_same(const struct thread *thread, struct call_step step)
{
    demand(step.action == thread->step.action && step.until_ns == thread->step.until_ns,
           "what is said at the wrong moment changes nothing");
}

static void say_at_the_wrong_moment(struct thread *thread)
{
    if (world.now < thread->step.until_ns)
        check_same(thread, call_due(&thread->call, world.now));
    if (thread->step.action == CALL_ATTEMPT)
        check_same(thread, call_denied(&thread->call));
    else
        check_same(thread, call_ended(&thread->call, (enum outcome)below(OUTCOMES), 7, world.now));
}

static void end_attempt(struct thread *thread)
{
    bool is_success = random_chance(&dice, world.success_ppm);
    thread->fed_outcome = is_success ? OUTCOME_SUCCESS : (enum outcome)between(1, OUTCOMES - 1);
    thread->fed_error = is_success ? 0 : (int)between(1, TIMEOUT_ERROR - 1);
    take(thread, call_ended(&thread->call, thread->fed_outcome, thread->fed_error, world.now));
}

static void time_has_come(struct thread *thread)
{
    bool is_attempt = thread->step.action == CALL_ATTEMPT;
    if (is_attempt) {
        thread->fed_outcome = OUTCOME_TIMEOUT;
        thread->fed_error = TIMEOUT_ERROR;
        sights[CUT_BY_TOTAL] += thread->step.until_ns == end_of_call(thread);
    }
    bool is_late = world.now >= end_of_call(thread);
    sights[OVERSLEPT] += !is_attempt && is_late;
    take(thread, call_due(&thread->call, world.now));
    demand(!is_late || thread->step.action == CALL_DONE, "nothing goes on after total");
}

static void go_on(struct thread *thread)
{
    if (one_in(100)) {
        note(thread, "is lost, probe:", thread->has_probe);
        thread->phase = LOST;
    } else if (one_in(8)) {
        say_at_the_wrong_moment(thread);
    } else if (thread->step.action == CALL_ATTEMPT && one_in(4)) {
        end_attempt(thread);
    } else if (world.now >= thread->step.until_ns) {
        time_has_come(thread);
    }
}

/* Most of the lost are gone for good, with their call and their probe; some were only asleep. */
static void come_back(struct thread *thread)
{
    if (one_in(3)) {
        note(thread, "comes back", 0);
        thread->phase = RUNNING;
    } else if (one_in(10)) {
        note(thread, "is buried", 0);
        thread->phase = IDLE;
        thread->has_probe = false;
    }
}

static void begin_call(struct thread *thread)
{
    thread->phase = RUNNING;
    thread->begun = world.now;
    thread->attempts = thread->rounds = thread->address = 0;
    thread->has_waited = false;
    if (world.budget.window_ns)
        count(world.retries, &world.retries_tally, world.budget.window_ns, (struct window_sum){.events = 1});
    struct call_params params = world.call;
    thread->is_single = !thread->ticket.is_probe && use_credit();
    if (thread->is_single)
        params.max_retries = params.siblings = 0;
    take(thread, call_begin(&thread->call, &params, thread->answer.verdict, random_next(&dice), world.now));
    demand(thread->step.action == CALL_ATTEMPT, "an admitted call attempts something");
}

static void begin_rejected(struct thread *thread)
{
    thread->phase = IDLE;
    struct call_step step =
        call_begin(&thread->call, &world.call, BREAKER_REJECT, random_next(&dice), world.now);
    demand(step.action == CALL_DONE && step.ending == CALL_REJECTED && step.error == REJECTED_ERROR,
           "a rejected call ends at once");
    demand(call_report(&step) == BREAKER_NEUTRAL, "a rejected call tells the breaker nothing");
}

/* --- the breaker --- */

static void check_word(void)
{
    struct breaker_view view = breaker_view(world.word);
    const struct model *model = &world.model;
    uint32_t threshold = world.breaker.failure_threshold;
    demand(view.state == model->state, "the word and the model are in one state");
    demand(view.state != BREAKER_CLOSED || threshold == 0 || view.failures < threshold,
           "no closed breaker has failures enough to open");
    demand(view.failures == model->failures, "failures in a row are counted");
    demand(view.successes == model->successes, "successes of probes are counted");
    demand(view.openings == (model->openings < 31 ? model->openings : 31), "openings in a row are counted");
}

static void check_no_other_probe(const struct thread *one)
{
    for (const struct thread *other = world.threads; other < world.threads + THREADS; other++)
        demand(other == one || !other->has_probe || world.now >= other->probe_at + world.breaker.lease_ns,
               "there is at most one live probe");
}

/* How it must be answered: -1 where a rounded millisecond leaves both. */
static int expected_verdict(uint64_t clock)
{
    const struct model *model = &world.model;
    uint64_t lease_end = model->probe_at + world.breaker.lease_ns;
    switch (model->state) {
    case BREAKER_CLOSED:
        return BREAKER_ADMIT;
    case BREAKER_OPEN:
        return clock < model->open_until ? BREAKER_REJECT : BREAKER_PROBE;
    case BREAKER_HALF_OPEN:
        if (!model->is_probe_out || clock >= lease_end + 2 * MS)
            return BREAKER_PROBE;
        return clock < lease_end ? BREAKER_REJECT : -1;
    }
    return -1;
}

static void check_answer(const struct thread *thread)
{
    const struct breaker_answer *answer = &thread->answer;
    int expected = expected_verdict(thread->clock);
    if (expected == BREAKER_REJECT)
        demand(answer->verdict == BREAKER_REJECT,
               "nobody passes an open circuit before its time, nor a probe");
    if (expected == BREAKER_PROBE)
        demand(answer->verdict == BREAKER_PROBE, "a circuit whose time has come admits a probe");
    if (expected == BREAKER_ADMIT)
        demand(answer->verdict == BREAKER_ADMIT, "a closed circuit admits");
    demand((answer->word == thread->seen) == (answer->verdict != BREAKER_PROBE),
           "only a probe changes the word");
    if (answer->verdict == BREAKER_REJECT) {
        demand(answer->until_ns > thread->clock, "it is worth asking again later, not now");
        demand(world.model.state != BREAKER_OPEN || answer->until_ns == world.model.open_until,
               "it is worth asking again when the open time is over");
    }
    demand(answer->ticket.is_probe == (answer->verdict == BREAKER_PROBE), "a probe's ticket says so");
}

static void refresh_clock(struct thread *thread)
{
    if (world.now - thread->clock > STALE_MAX || one_in(4))
        thread->clock = world.now;
}

static void ask(struct thread *thread)
{
    refresh_clock(thread);
    thread->seen = world.word;
    thread->answer = breaker_admit(world.word, &world.breaker, thread->clock);
    check_answer(thread);
    thread->phase = ASKED;
    if (thread->answer.verdict == BREAKER_REJECT) {
        sights[REJECTIONS]++;
        begin_rejected(thread);
    } else if (thread->answer.verdict == BREAKER_ADMIT) {
        /* Nothing to publish. */
        thread->ticket = thread->answer.ticket;
        thread->epoch = world.model.epoch;
        begin_call(thread);
    }
}

static void become_probe(struct thread *thread)
{
    if (world.word != thread->seen) {
        sights[RACES_LOST]++;
        thread->phase = ADMITTING;
        return;
    }
    struct model *model = &world.model;
    check_no_other_probe(thread);
    sights[PROBES_REPLACED] += model->state == BREAKER_HALF_OPEN && model->is_probe_out;
    if (model->state == BREAKER_OPEN)
        model->successes = 0;
    model->state = BREAKER_HALF_OPEN;
    model->is_probe_out = true;
    model->probe_at = thread->clock;
    model->epoch++;
    world.word = thread->answer.word;
    thread->ticket = thread->answer.ticket;
    thread->epoch = model->epoch;
    thread->probe_at = thread->clock;
    thread->has_probe = true;
    note(thread, "becomes the probe, by its clock at", thread->clock);
    check_word();
    begin_call(thread);
}

static bool is_too_often(const struct window_sum *recent)
{
    return world.breaker.failure_ratio_ppm && recent->events >= world.breaker.minimum_calls &&
           (unsigned __int128)recent->marked * PPM_ONE >=
               (unsigned __int128)recent->events * world.breaker.failure_ratio_ppm;
}

/* What must become of the breaker; brings the model there. */
static enum breaker_transition expected_transition(const struct thread *thread, enum breaker_report report)
{
    struct model *model = &world.model;
    if (thread->epoch != model->epoch)
        return BREAKER_STAYED;
    if (model->state == BREAKER_CLOSED) {
        if (report == BREAKER_SUCCESS)
            model->failures = 0;
        if (report != BREAKER_FAILURE)
            return BREAKER_STAYED;
        uint32_t threshold = world.breaker.failure_threshold < 255 ? world.breaker.failure_threshold : 255;
        model->failures += model->failures < 255;
        bool is_row = threshold && model->failures >= threshold;
        bool is_rate = is_too_often(&thread->recent);
        sights[OPENED_BY_RATE] += is_rate && !is_row;
        return is_row || is_rate ? BREAKER_OPENED : BREAKER_STAYED;
    }
    model->is_probe_out = false;
    if (report == BREAKER_FAILURE)
        return BREAKER_REOPENED;
    sights[PROBES_GIVEN_BACK] += report == BREAKER_NEUTRAL;
    if (report == BREAKER_SUCCESS && ++model->successes >= world.breaker.success_threshold)
        return BREAKER_RECOVERED;
    return BREAKER_STAYED;
}

static void check_open_time(const struct thread *thread)
{
    const struct breaker_params *params = &world.breaker;
    uint64_t time = thread->change.until_ns - thread->clock;
    uint64_t first = (params->recovery_timeout_ns + MS - 1) / MS * MS; /* the word has no shorter one */
    uint64_t cap = params->max_recovery_timeout_ns > first ? params->max_recovery_timeout_ns : first;
    uint32_t before = world.model.openings - 1;
    uint64_t least = before < 20 && first << before < cap ? first << before : cap;
    uint64_t most = least + least / 1000 * params->jitter_ppm / 1000 + US;
    demand(time >= first, "it stays open for recovery_timeout at least");
    demand(time < cap + 2 * MS, "it stays open for max_recovery_timeout at most");
    demand(time < most + 3 * MS, "it stays open no longer than its jitter says");
    if (most > cap)
        least = cap / (PPM_ONE + params->jitter_ppm) * PPM_ONE;
    demand(time + 2 * MS >= least, "it stays open longer each time");
}

static void arrive(const struct thread *thread, enum breaker_transition transition)
{
    struct model *model = &world.model;
    model->failures = model->successes = 0;
    model->epoch++;
    if (transition == BREAKER_RECOVERED) {
        sights[RECOVERED]++;
        model->state = BREAKER_CLOSED;
        model->openings = 0;
        memset(world.failures, 0, sizeof world.failures);
        world.failures_tally.count = 0;
        return;
    }
    sights[transition == BREAKER_OPENED ? OPENED : REOPENED]++;
    model->state = BREAKER_OPEN;
    model->openings++;
    model->open_until = thread->change.until_ns;
    check_open_time(thread);
}

/* The first look at the word, or another one after a lost race. */
static void prepare_report(struct thread *thread)
{
    refresh_clock(thread);
    enum breaker_report report = call_report(&thread->step);
    thread->seen = world.word;
    thread->change = breaker_ended(world.word, &world.breaker, thread->ticket, report, thread->recent,
                                   thread->clock, &dice);
    thread->phase = CHANGING;
}

static void publish_report(struct thread *thread)
{
    if (world.word != thread->seen) {
        sights[RACES_LOST]++;
        prepare_report(thread);
        return;
    }
    sights[LATE_OUTCOMES] += thread->epoch != world.model.epoch;
    demand(thread->epoch == world.model.epoch || thread->change.word == world.word,
           "a late outcome moves nothing");
    enum breaker_transition expected = expected_transition(thread, call_report(&thread->step));
    world.word = thread->change.word;
    thread->phase = IDLE;
    thread->has_probe = false;
    note(thread, "reports", call_report(&thread->step));
    demand(thread->change.transition == expected, "outcomes move the breaker as they should");
    if (expected != BREAKER_STAYED)
        arrive(thread, expected);
    check_word();
}

static void begin_report(struct thread *thread)
{
    enum breaker_report report = call_report(&thread->step);
    if (world.model.epoch - thread->epoch >= GENERATIONS) {
        thread->phase = IDLE;
        thread->has_probe = false;
        return;
    }
    if (world.breaker.failure_ratio_ppm && report != BREAKER_NEUTRAL) {
        struct window_sum one = {.events = 1, .marked = report == BREAKER_FAILURE};
        count(world.failures, &world.failures_tally, world.breaker.window_ns, one);
    }
    thread->recent = counted(world.failures, &world.failures_tally, world.breaker.window_ns);
    prepare_report(thread);
}

/* Somebody puts it back, at any moment. */
static void reset(void)
{
    sights[RESETS]++;
    world.word = breaker_reset(world.word);
    memset(world.failures, 0, sizeof world.failures);
    world.failures_tally.count = 0;
    world.model = (struct model){.state = BREAKER_CLOSED, .epoch = world.model.epoch + 1};
    for (struct thread *thread = world.threads; thread < world.threads + THREADS; thread++)
        thread->has_probe = false; /* what it is told of is another circuit now */
    note(world.threads, "resets, in the name of", 0);
    check_word();
}

/* --- time and chance --- */

static void move(struct thread *thread)
{
    switch (thread->phase) {
    case IDLE:
        thread->clock = world.now;
        thread->phase = ADMITTING;
        break;
    case ADMITTING:
        ask(thread);
        break;
    case ASKED:
        become_probe(thread);
        break;
    case RUNNING:
        go_on(thread);
        break;
    case LOST:
        come_back(thread);
        break;
    case REPORTING:
        begin_report(thread);
        break;
    case CHANGING:
        publish_report(thread);
        break;
    case PHASES:
        break;
    }
}

/* To the very moment, or the one before, of something that is due. */
static uint64_t time_of_interest(void)
{
    const struct thread *thread = &world.threads[below(THREADS)];
    uint64_t lease_end = world.model.probe_at + world.breaker.lease_ns;
    uint64_t time = one_in(2) && thread->phase == RUNNING ? thread->step.until_ns
                    : world.model.state == BREAKER_OPEN   ? world.model.open_until
                                                          : lease_end + below(3) * MS;
    time -= one_in(2);
    return time > world.now && time - world.now < 100 * S ? time : world.now;
}

static void let_time_pass(void)
{
    uint64_t chance = below(1000);
    if (chance < 600)
        return;
    if (chance < 850)
        world.now += below(MS);
    else if (chance < 950)
        world.now += below(200 * MS);
    else if (chance < 990)
        world.now = time_of_interest();
    else if (chance < 999)
        world.now += below(5 * S);
    else
        world.now += below(3600 * S);
}

static void print_sights(void)
{
    for (unsigned i = 0; i < SIGHTS; i++)
        printf("%s%" PRIu64 " %s", i ? ", " : "", sights[i], sight_names[i]);
    printf("\n");
}

int main(int argc, char **argv)
{
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    dice.state = seed;
    for (step_number = 0; step_number < steps; step_number++) {
        if (step_number == 0 || one_in(3000))
            begin_world();
        let_time_pass();
        if (one_in(200))
            world.success_ppm = one_in(2) ? (uint32_t)below(PPM_ONE) : one_in(2) ? 0 : PPM_ONE;
        if (one_in(5000))
            reset();
        move(&world.threads[below(THREADS)]);
    }
    printf("%" PRIu64 " steps, seed %" PRIu64 ", 0 violations\n", steps, seed);
    print_sights();
    for (unsigned i = 0; i < SIGHTS && steps >= 1000000; i++)
        demand(sights[i] > 0, sight_names[i]);
    return 0;
}
