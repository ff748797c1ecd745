#include "drive/stale.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/clock.h"
#include "drive/answer.h"
#include "drive/connect.h"
#include "drive/tell.h"
#include "state/kept_names.h"
#include "state/last.h"
#include "state/served.h"

static const struct rung *rung_of(const struct ladder *ladder, enum rung_kind kind);
static enum kept_family family_of(const struct lookup *lookup);
static void note_served(struct host_handle host, const char *text, enum rung_kind rung, uint32_t number,
                        int eai, uint64_t age_ns);
static void tell_skipped(struct host_handle host, const char *text, uint32_t number, enum skipped_reason why);

struct stale stale_begin(const struct rule *rule, const char *name, const struct lookup *lookup)
{
    struct stale stale = {.name = name, .verdict = STALE_ASK};
    const struct ladder *ladder = rule->policy.ladder;
    if (!ladder || !ladder_serves(&ladder->shape, LADDER_LOOKUP))
        return stale;
    stale.ladder = ladder;
    const struct rung *rung = rung_of(ladder, RUNG_STALE);
    struct stale_state state;
    struct address addresses[KEPT_ADDRESSES_MAX];
    if (!rung)
        return stale;
    kept_names_find(name, family_of(lookup), &state, addresses);
    stale.verdict = stale_decide(&rung->stale, &state, kept_names_now_ns());
    stale.late_ns = stale.verdict == STALE_ASK_LATE ? rung->stale.after_ns : 0;
    return stale;
}

bool stale_serve(const struct stale *stale, const struct rule *rule, const struct target *target,
                 struct lookup *lookup, int eai)
{
    if (!stale->ladder)
        return false;
    int error = errno;
    char text[52];
    struct ladder_place place = {.is_begun = false};
    struct host_handle host = hosts_find(rule, target, clock_now_ns());
    target_text(target, text, sizeof text);
    for (;;) {
        enum rung_kind kind = ladder_descend(&stale->ladder->shape, LADDER_LOOKUP, &place);
        const struct rung *rung = &stale->ladder->rungs[place.rung];
        struct address kept[KEPT_ADDRESSES_MAX];
        const struct address *addresses = kept;
        unsigned count = 0;
        uint64_t age_ns = 0;
        if (kind == RUNG_STALE) {
            struct stale_state state;
            uint64_t now = kept_names_now_ns();
            count = kept_names_find(stale->name, family_of(lookup), &state, kept);
            age_ns = count && now > state.answered_ns ? now - state.answered_ns : 0;
            bool is_old = age_ns > rung->stale.max_age_ns;
            if (!count || is_old) {
                tell_skipped(host, text, place.rung, is_old ? SKIPPED_TOO_OLD : SKIPPED_NO_ANSWER);
                continue;
            }
        } else if (kind == RUNG_ADDRESSES) {
            addresses = rung->addresses;
            count = rung->address_count;
        } else {
            last_note_lookup(ladder_keep(rule), RUNG_ERROR, place.rung, eai, 0);
            note_served(host, text, RUNG_ERROR, place.rung, eai, 0);
            errno = error;
            return false;
        }
        if (answer_make(lookup, stale->name, addresses, count)) {
            last_note_lookup(ladder_keep(rule), kind, place.rung, eai, age_ns);
            note_served(host, text, kind, place.rung, eai, age_ns);
            errno = error;
            return true;
        }
        if (kind == RUNG_ADDRESSES)
            tell_skipped(host, text, place.rung, SKIPPED_FAMILY);
    }
}

void stale_not(const struct stale *stale, const struct rule *rule, struct host_handle host)
{
    if (!stale->ladder)
        return;
    served_fully(host);
    last_note_lookup(ladder_keep(rule), RUNG_FULL, 0, 0, 0);
}

void stale_failed(const struct stale *stale)
{
    if (stale->ladder)
        kept_names_failed(stale->name, false);
}

void stale_keep(const struct lookup *lookup, const char *name)
{
    struct address found[KEPT_ADDRESSES_MAX];
    kept_names_answered(name, family_of(lookup), found, answer_addresses(lookup, found, KEPT_ADDRESSES_MAX));
}

const char *stale_fallback_due(const struct rule *rule, uint32_t *number)
{
    const struct ladder *ladder = rule->policy.ladder;
    uint32_t at = 0;
    for (uint32_t i = 0; ladder && i < ladder->shape.count; i++)
        for (uint32_t n = 0; ladder->rungs[i].hosts && n < ladder->shape.rungs[i].choices; n++) {
            const char *name = ladder->rungs[i].hosts[n].name;
            if (at++ < *number || !name)
                continue;
            *number = at;
            struct stale_state state;
            struct address addresses[KEPT_ADDRESSES_MAX];
            uint64_t now = kept_names_now_ns();
            kept_names_find(name, KEPT_ANY, &state, addresses);
            bool is_fresh = state.has_answer && now - state.answered_ns < STALE_ASK_EVERY_NS;
            bool has_failed =
                state.failed_ns && state.failed_ns <= now && now - state.failed_ns < STALE_ASK_EVERY_NS;
            if (!is_fresh && !has_failed)
                return name;
        }
    return NULL;
}

static const struct rung *rung_of(const struct ladder *ladder, enum rung_kind kind)
{
    for (uint32_t i = 0; i < ladder->shape.count; i++)
        if (ladder->shape.rungs[i].kind == kind)
            return &ladder->rungs[i];
    return NULL;
}

/* An answer to a question about one family is none to a question about both. */
static enum kept_family family_of(const struct lookup *lookup)
{
    int family = lookup->form == LOOKUP_GETADDRINFO ? (lookup->hints ? lookup->hints->ai_family : AF_UNSPEC)
                 : lookup->family == AF_UNSPEC      ? AF_INET
                                                    : lookup->family;
    return family == AF_INET ? KEPT_V4 : family == AF_INET6 ? KEPT_V6 : KEPT_ANY;
}

static void note_served(struct host_handle host, const char *text, enum rung_kind rung, uint32_t number,
                        int eai, uint64_t age_ns)
{
    uint64_t now = clock_now_ns();
    served_told(host, rung, now);
    if (!hosts_sample(host, SAMPLE_DEGRADED, EVENT_DEGRADED, now))
        return;
    struct event event = event_about(EVENT_DEGRADED, text);
    event.time_ns = now;
    event.duration_ns = age_ns;
    event.error = eai;
    event.attempt = (uint16_t)(number + 1);
    event.flags = EVENT_LOOKUP;
    event.count = EVENT_OF_RUNG(rung, 0, 0);
    tell(&event);
}

static void tell_skipped(struct host_handle host, const char *text, uint32_t number, enum skipped_reason why)
{
    uint64_t now = clock_now_ns();
    if (!hosts_sample(host, SAMPLE_SKIPPED, EVENT_RUNG_SKIPPED, now))
        return;
    struct event event = event_about(EVENT_RUNG_SKIPPED, text);
    event.time_ns = now;
    event.attempt = (uint16_t)(number + 1);
    event.flags = EVENT_LOOKUP;
    event.count = EVENT_OF_RUNG(why == SKIPPED_FAMILY ? RUNG_ADDRESSES : RUNG_STALE, why, 0);
    tell(&event);
}
