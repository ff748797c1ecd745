/* Runs bulkhead and rate limiter through virtual time: threads of a process ask for places and tokens, lose races, connect
 * or do not, close, vanish with their place (a siglongjmp out of connect) or close behind everybody's back, and are
 * counted again. After every move the words are checked against plain lists of who has what.
 *
 *     simulate_limits [steps [seed]]
 *
 * Exit 0: "N steps, seed S, 0 violations", and what was met on the way. Exit 1: the first violation. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/limit.h"
#include "policy/random.h"

#define MS UINT64_C(1000000)
#define S  (1000 * MS)

#define THREADS 12
#define LIVE    256

enum phase {
    IDLE,
    ENTERING, /* has read the places, and an answer to them */
    WAITING,  /* for a place */
    TAKING,   /* has read the tokens, and an answer to them */
    QUEUED,   /* has a token that is not there yet */
    RUNNING,  /* its connection is being made */
    PHASES
};

struct thread {
    enum phase phase;
    uint64_t begun, until;
    uint64_t seen; /* the word, as it was when it asked */
    struct limit_answer answer;
};

static struct {
    struct limit_params params;
    uint64_t now, began;
    uint64_t places, tokens;
    uint64_t changed; /* when places last did */
    struct thread threads[THREADS];
    uint32_t live;    /* connections that there are */
    uint32_t pending; /* threads that have a place and no connection yet */
    uint32_t missed;  /* connections that ended unseen, and are counted still */
    uint32_t lost;    /* places of threads that vanished */
    uint64_t granted; /* tokens */
} world;

static struct random dice;
static uint64_t step_number;

enum sight {
    ADMITTED,
    PLACES_REFUSED,
    PLACES_AWAITED,
    TOKENS_REFUSED,
    TOKENS_AWAITED,
    RACES,
    CORRECTIONS,
    STALE,
    SIGHTS
};
static uint64_t sights[SIGHTS];
static const char *const sight_names[SIGHTS] = {
    "admitted",       "places refused", "places awaited", "tokens refused",
    "tokens awaited", "races lost",     "corrections",    "counts out of date",
};

static void demand(bool holds, const char *rule)
{
    if (holds)
        return;
    struct limit_view view = limit_view(world.places);
    printf("violation at step %" PRIu64 ": %s\n", step_number, rule);
    printf("  %u connections, %u/s, wait %" PRIu64 " ns; now %" PRIu64 " ns\n", world.params.connections,
           world.params.rate_per_s, world.params.wait_ns, world.now);
    printf("  word: %u pending, %u live; model: %u pending, %u live, %u missed, %u lost; %" PRIu64
           " tokens\n",
           view.pending, view.live, world.pending, world.live, world.missed, world.lost, world.granted);
    exit(1);
}

static uint64_t below(uint64_t bound)
{
    return random_below(&dice, bound);
}

static bool one_in(uint64_t many)
{
    return below(many) == 0;
}

static void begin_world(void)
{
    memset(&world, 0, sizeof world);
    world.params = (struct limit_params){
        .connections = one_in(6) ? 0 : (uint32_t)(1 + below(8)),
        .rate_per_s = one_in(4) ? 0 : (uint32_t)(1 + below(one_in(2) ? 5 : 1000)),
        .wait_ns = one_in(2) ? 0 : below(5 * S),
    };
    world.now = world.began = below(300) * 24 * 3600 * S + below(S);
}

static void check_places(void)
{
    struct limit_view view = limit_view(world.places);
    demand(view.pending == world.pending + world.lost, "those that are being made are counted");
    demand(view.live == world.live + world.missed, "those that live are counted");
    demand(!world.params.connections || world.live + world.pending <= world.params.connections,
           "there are no more connections than the limit says");
}

static bool publish(uint64_t *word, const struct thread *thread)
{
    if (*word != thread->seen) {
        sights[RACES]++;
        return false;
    }
    *word = thread->answer.word;
    return true;
}

static void change(uint64_t (*changed)(uint64_t))
{
    world.places = changed(world.places);
    world.changed = world.now;
}

static void leave(struct thread *thread)
{
    change(limit_left);
    world.pending--;
    thread->phase = IDLE;
    check_places();
}

static void ask_for_a_place(struct thread *thread)
{
    thread->seen = world.places;
    thread->answer = limit_enter(world.places, &world.params, thread->begun, world.now);
    thread->phase = ENTERING;
}

static void ask_for_a_token(struct thread *thread)
{
    thread->seen = world.tokens;
    thread->answer = limit_take(world.tokens, &world.params, thread->begun, world.now);
    thread->phase = TAKING;
}

static void enter(struct thread *thread)
{
    uint64_t deadline = thread->begun + world.params.wait_ns;
    if (thread->answer.verdict == LIMIT_ADMIT) {
        if (!publish(&world.places, thread)) {
            ask_for_a_place(thread);
            return;
        }
        world.changed = world.now;
        world.pending++;
        check_places();
        ask_for_a_token(thread);
        return;
    }
    demand(thread->answer.word == thread->seen, "who is not admitted changes nothing");
    demand(world.params.connections, "where there is no limit nobody is turned away");
    if (thread->answer.verdict == LIMIT_REJECT) {
        sights[PLACES_REFUSED]++;
        demand(world.now >= deadline, "nobody is turned away while he may wait");
        thread->phase = IDLE;
        return;
    }
    sights[PLACES_AWAITED]++;
    demand(thread->answer.until_ns <= deadline, "nobody waits for longer than the rule says");
    thread->until = thread->answer.until_ns;
    thread->phase = WAITING;
}

static void take(struct thread *thread)
{
    uint64_t deadline = thread->begun + world.params.wait_ns;
    if (thread->answer.verdict == LIMIT_REJECT) {
        sights[TOKENS_REFUSED]++;
        demand(world.params.rate_per_s, "where there is no rate nobody comes too often");
        demand(thread->answer.until_ns > deadline, "who could have waited is not turned away");
        leave(thread);
        return;
    }
    if (!publish(&world.tokens, thread)) {
        ask_for_a_token(thread);
        return;
    }
    bool is_queued = thread->answer.verdict == LIMIT_WAIT;
    thread->until = is_queued ? thread->answer.until_ns : world.now;
    demand(thread->until <= deadline || !is_queued, "nobody waits for longer than the rule says");
    sights[is_queued ? TOKENS_AWAITED : ADMITTED]++;
    if (world.params.rate_per_s) {
        /* A bucket of one second, and what has come since. */
        world.granted++;
        unsigned __int128 earned =
            (unsigned __int128)(thread->until - world.began) * world.params.rate_per_s +
            (unsigned __int128)S * world.params.rate_per_s;
        demand((unsigned __int128)world.granted * S <= earned,
               "there are no more connects than the rate says");
    }
    thread->phase = is_queued ? QUEUED : RUNNING;
}

static void end_attempt(struct thread *thread)
{
    if (one_in(30)) { /* siglongjmp: nobody gives the place back */
        world.pending--;
        world.lost++;
        thread->phase = IDLE;
    } else if (one_in(3) || world.live == LIVE) {
        leave(thread);
    } else {
        change(limit_connected);
        world.pending--;
        world.live++;
        thread->phase = IDLE;
    }
    check_places();
}

static void end_connection(void)
{
    if (!world.live)
        return;
    world.live--;
    if (one_in(4))
        world.missed++; /* behind our back */
    else
        change(limit_ended);
    check_places();
}

/* As it is done before somebody is turned away; now and then somebody comes or goes while it is being done. */
static void recount(void)
{
    static const uint64_t longest = 20 * S;
    uint64_t before = world.places;
    uint32_t live = world.live;
    if (one_in(4))
        end_connection();
    if (world.places != before) {
        sights[STALE]++;
        return;
    }
    live = live < world.live ? live : world.live;
    bool is_quiet = world.now - world.changed > longest;
    for (const struct thread *thread = world.threads; thread < world.threads + THREADS; thread++)
        is_quiet &= thread->phase != TAKING && thread->phase != QUEUED && thread->phase != RUNNING;
    world.places = limit_corrected(before, live, is_quiet);
    demand(world.places != before, "whoever counted meanwhile is told");
    world.missed = 0;
    world.lost = is_quiet ? 0 : world.lost;
    sights[CORRECTIONS]++;
    check_places();
}

static void move(struct thread *thread)
{
    switch (thread->phase) {
    case IDLE:
        thread->begun = world.now;
        ask_for_a_place(thread);
        break;
    case ENTERING:
        enter(thread);
        break;
    case WAITING:
        if (world.now >= thread->until)
            ask_for_a_place(thread);
        break;
    case TAKING:
        take(thread);
        break;
    case QUEUED:
        if (world.now >= thread->until)
            thread->phase = RUNNING;
        break;
    case RUNNING:
        end_attempt(thread);
        break;
    case PHASES:
        break;
    }
}

static void let_time_pass(void)
{
    uint64_t chance = below(1000);
    if (chance >= 600)
        world.now += chance < 900 ? below(MS) : chance < 990 ? below(100 * MS) : below(30 * S);
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
        if (one_in(6))
            end_connection();
        if (one_in(50))
            recount();
        move(&world.threads[below(THREADS)]);
    }
    printf("%" PRIu64 " steps, seed %" PRIu64 ", 0 violations\n", steps, seed);
    for (unsigned i = 0; i < SIGHTS; i++)
        printf("%s%" PRIu64 " %s", i ? ", " : "", sights[i], sight_names[i]);
    printf("\n");
    for (unsigned i = 0; i < SIGHTS && steps >= 1000000; i++)
        demand(sights[i] > 0, sight_names[i]);
    return 0;
}
