#include "state/last.h"

#include "base/clock.h"

static __thread struct last last __attribute__((tls_model("initial-exec")));

void last_note(const struct kept_ladder *kept, enum rung_kind rung, uint32_t number, int error)
{
    last_note_lookup(kept, rung, number, error, 0);
    last.is_lookup = 0;
}

void last_note_lookup(const struct kept_ladder *kept, enum rung_kind rung, uint32_t number, int eai,
                      uint64_t age_ns)
{
    bool has_number = rung != RUNG_FULL && rung != RUNG_ERROR;
    if (!kept)
        return;
    last = (struct last){
        .kept = kept,
        .rung = (uint8_t)rung,
        .number = has_number ? (number + 1) & 0x7f : 0,
        .is_lookup = 1,
        .error = rung == RUNG_FULL ? 0 : (int16_t)eai,
        .age_ms = age_ns / NS_PER_MS < UINT32_MAX ? (uint32_t)(age_ns / NS_PER_MS) : UINT32_MAX,
    };
}

struct last last_decision(void)
{
    return last;
}
