#include "policy/ladder.h"

#include <errno.h>

static bool is_of(enum rung_kind kind, enum ladder_side side, bool is_second_pass)
{
    if (side == LADDER_CONNECT)
        return kind == RUNG_HOST || kind == RUNG_RESPOND;
    return is_second_pass ? kind == RUNG_HOST || kind == RUNG_ADDRESSES : kind == RUNG_STALE;
}

static uint32_t count_of(const struct ladder_shape *shape)
{
    return shape->count < LADDER_RUNGS_MAX ? shape->count : LADDER_RUNGS_MAX;
}

enum rung_kind ladder_descend(const struct ladder_shape *shape, enum ladder_side side,
                              struct ladder_place *place)
{
    uint32_t count = count_of(shape);
    if (place->is_begun)
        place->choice++;
    place->is_begun = true;
    for (;;) {
        for (; place->rung < count; place->rung++, place->choice = 0) {
            uint32_t choices = shape->rungs[place->rung].choices;
            bool has_more = place->choice < choices && place->choice < LADDER_CHOICES_MAX;
            if (has_more && is_of(shape->rungs[place->rung].kind, side, place->is_second_pass))
                return shape->rungs[place->rung].kind;
        }
        place->rung = count;
        if (side == LADDER_CONNECT || place->is_second_pass)
            return RUNG_ERROR;
        *place = (struct ladder_place){.is_begun = true, .is_second_pass = true};
    }
}

bool ladder_serves(const struct ladder_shape *shape, enum ladder_side side)
{
    struct ladder_place place = {.is_begun = false};
    return ladder_descend(shape, side, &place) != RUNG_ERROR;
}

bool ladder_is_for(int error)
{
    switch (error) {
    case ECONNREFUSED:
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
    case ECONNRESET:
    case EPIPE:
        return true;
    }
    return false;
}

const char *rung_name(enum rung_kind kind)
{
    static const char *const names[RUNG_KINDS] = {
        [RUNG_FULL] = "full",       [RUNG_HOST] = "host",           [RUNG_STALE] = "stale",
        [RUNG_RESPOND] = "respond", [RUNG_ADDRESSES] = "addresses", [RUNG_ERROR] = "error",
    };
    return (unsigned)kind < RUNG_KINDS ? names[kind] : "unknown";
}

enum stale_verdict stale_decide(const struct stale_params *params, const struct stale_state *state,
                                uint64_t now_ns)
{
    uint64_t age_ns = now_ns > state->answered_ns ? now_ns - state->answered_ns : 0;
    if (!state->has_answer || age_ns > params->max_age_ns)
        return STALE_ASK;
    /* A failure after which an answer came is over; one of the future was written by who knows whom. */
    bool has_failed = state->failed_ns > state->answered_ns && state->failed_ns <= now_ns;
    return has_failed && now_ns - state->failed_ns < params->ask_every_ns ? STALE_SERVE : STALE_ASK_LATE;
}

bool stale_is_due(const struct stale_state *state, uint64_t now_ns)
{
    bool is_fresh = state->has_answer && now_ns - state->answered_ns < STALE_ASK_EVERY_NS;
    bool has_failed =
        state->failed_ns && state->failed_ns <= now_ns && now_ns - state->failed_ns < STALE_ASK_EVERY_NS;
    return !is_fresh && !has_failed;
}
