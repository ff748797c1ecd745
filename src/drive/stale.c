#include "drive/stale.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "drive/answer.h"
#include "drive/connect.h"
#include "drive/fallback.h"
#include "drive/tell.h"
#include "state/kept_names.h"
#include "state/last.h"
#include "state/served.h"

#define LEADS_MAX 64u

static const struct rung *rung_of(const struct ladder *ladder, enum rung_kind kind);
static enum kept_family family_of(const struct lookup *lookup);
static void note_served(struct host_handle host, const char *text, enum rung_kind rung, uint32_t number,
                        int eai, uint64_t age_ns, const struct address *address);
static void tell_skipped(struct host_handle host, const char *text, uint32_t number, enum rung_kind kind,
                         enum skipped_reason why);
static void note_lead(const char *name, const struct address *address, bool is_fallback);

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
                tell_skipped(host, text, place.rung, kind, is_old ? SKIPPED_TOO_OLD : SKIPPED_NO_ANSWER);
                continue;
            }
        } else if (kind == RUNG_ADDRESSES) {
            addresses = rung->addresses;
            count = rung->address_count;
        } else if (kind == RUNG_HOST) {
            count = fallback_addresses(&rung->hosts[place.choice], kept, KEPT_ADDRESSES_MAX);
            if (!count) {
                tell_skipped(host, text, place.rung, kind, SKIPPED_UNKNOWN);
                continue;
            }
        } else {
            last_note_lookup(ladder_keep(rule), RUNG_ERROR, place.rung, eai, 0);
            note_served(host, text, RUNG_ERROR, place.rung, eai, 0, NULL);
            errno = error;
            return false;
        }
        if (answer_make(lookup, stale->name, addresses, count)) {
            for (unsigned i = 0; i < count; i++)
                note_lead(stale->name, &addresses[i], kind == RUNG_HOST);
            last_note_lookup(ladder_keep(rule), kind, place.rung, eai, age_ns);
            note_served(host, text, kind, place.rung, eai, age_ns, &addresses[0]);
            errno = error;
            return true;
        }
        if (kind != RUNG_STALE)
            tell_skipped(host, text, place.rung, kind, SKIPPED_FAMILY);
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
    unsigned count = answer_addresses(lookup, found, KEPT_ADDRESSES_MAX);
    kept_names_answered(name, family_of(lookup), found, count);
    for (unsigned i = 0; i < count; i++)
        note_lead(name, &found[i], false);
}

const struct fallback_name *stale_fallback_due(const struct ruleset *rules, uint32_t *number)
{
    while (*number < rules->fallback_name_count) {
        const struct fallback_name *fallback = &rules->fallback_names[(*number)++];
        struct stale_state state;
        struct address addresses[KEPT_ADDRESSES_MAX];
        kept_names_find(fallback->name, KEPT_ANY, &state, addresses);
        if (stale_is_due(&state, kept_names_now_ns()))
            return fallback;
    }
    return NULL;
}

/* Names with their addresses that were answered so. One that takes another's place costs that one a failed connect. */
static _Atomic uint64_t leads[LEADS_MAX];

static uint64_t lead_of(const char *name, const struct address *address)
{
    return hash_bytes(name, strlen(name), hash_bytes(address->bytes, sizeof address->bytes, 1)) | 1;
}

static void note_lead(const char *name, const struct address *address, bool is_fallback)
{
    uint64_t lead = lead_of(name, address);
    _Atomic uint64_t *place = &leads[lead / 2 % LEADS_MAX];
    if (is_fallback)
        atomic_store_explicit(place, lead, memory_order_relaxed);
    else if (atomic_load_explicit(place, memory_order_relaxed) == lead)
        atomic_store_explicit(place, 0, memory_order_relaxed);
}

bool stale_led_to_fallback(const char *name, const struct address *address)
{
    uint64_t lead = lead_of(name, address);
    return atomic_load_explicit(&leads[lead / 2 % LEADS_MAX], memory_order_relaxed) == lead;
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
                        int eai, uint64_t age_ns, const struct address *address)
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
    if (rung == RUNG_HOST)
        memcpy(event.address, address->bytes, sizeof event.address);
    tell(&event);
}

static void tell_skipped(struct host_handle host, const char *text, uint32_t number, enum rung_kind kind,
                         enum skipped_reason why)
{
    uint64_t now = clock_now_ns();
    if (why == SKIPPED_UNKNOWN)
        segment_passed(PASSED_FALLBACK_UNKNOWN);
    if (!hosts_sample(host, SAMPLE_SKIPPED, EVENT_RUNG_SKIPPED, now))
        return;
    struct event event = event_about(EVENT_RUNG_SKIPPED, text);
    event.time_ns = now;
    event.attempt = (uint16_t)(number + 1);
    event.flags = EVENT_LOOKUP;
    event.count = EVENT_OF_RUNG(kind, why, 0);
    tell(&event);
}
