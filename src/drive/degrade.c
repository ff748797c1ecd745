#include "drive/degrade.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "drive/error_queue.h"
#include "drive/fault_connect.h"
#include "drive/fallback.h"
#include "drive/options.h"
#include "drive/raw.h"
#include "drive/readiness.h"
#include "drive/signals.h"
#include "drive/silence.h"
#include "drive/stale.h"
#include "drive/stand_in.h"
#include "drive/tell.h"
#include "drive/transfer.h"
#include "hooks/real.h"
#include "state/degraded.h"
#include "state/faults.h"
#include "state/last.h"
#include "state/process.h"
#include "state/served.h"

static int fall_back(struct connecting *call, struct descent *descent, const struct fallback_found *found);
static int error_of(const struct policy *policy);
static void point_at(struct connecting *call, struct descent *descent, const struct fallback_found *found);
static bool stand_in(struct connecting *call, struct descent *descent);
static bool stand_in_for(struct pending *pending);
static bool wait_for_stand_in(struct pending *pending, struct call_step *step, uint64_t now_ns);
static void leave_host(struct pending *pending);
static void begin_stand_in(struct descriptor *entry, struct degraded *record, const struct stand_in *made,
                           const struct descent *descent);
static void take_back(int fd, const struct stand_in *made);
static struct degraded *note_served(struct descriptor *entry, const struct descent *descent,
                                    enum rung_kind rung);
static struct descriptor *entry_for(struct connecting *call);
static void tell_rung(const struct descent *descent, enum rung_kind rung, int error);
static bool is_under_way(int error);

bool degrade_sticks(const struct connecting *call)
{
    const struct policy *policy = &call->rule->policy;
    const struct host *host = call->host.host;
    if (!host || !served_stays(call->host, call->begun_ns))
        return false;
    /* A probe is for the host itself. */
    if (breaker_view(atomic_load_explicit(&host->breaker, memory_order_relaxed)).state != BREAKER_CLOSED)
        return false;
    errno = error_of(policy);
    return true;
}

bool degrade_is_led(struct connecting *call)
{
    call->is_led = call->target.name && stale_led_to_fallback(call->target.name, &call->target.address);
    if (call->is_led)
        errno = error_of(&call->rule->policy);
    return call->is_led;
}

static int error_of(const struct policy *policy)
{
    return policy->breaker.is_on ? policy->breaker.error : ECONNREFUSED;
}

void degrade_begin(struct descent *descent, const struct connecting *call)
{
    if (!degrade_is_for(call)) { /* of the rest nothing is read then */
        descent->kept = NULL;
        descent->is_waiting = false;
        return;
    }
    *descent = (struct descent){.kept = ladder_keep(call->rule)};
    if (!descent->kept) {
        segment_passed(PASSED_NO_MEMORY);
        return;
    }
    descent->asked = call->host;
    descent->is_limited = call->is_limited;
    descent->is_led = call->is_led;
    memcpy(descent->asked_text, call->text, sizeof descent->asked_text);
    descent->asked_length =
        call->length < sizeof descent->asked_address ? call->length : sizeof descent->asked_address;
    memcpy(&descent->asked_address, call->address, descent->asked_length);
    descent->is_mapped = call->address->sa_family == AF_INET6 && address_is_v4(&call->target.address);
}

int degrade_connect(struct connecting *call)
{
    struct descent descent;
    int error = errno;
    /* What a rule injects is meant for what was asked for. */
    flow_end(call->flow);
    call->flow = NULL;
    errno = error;
    if (!call->is_blocking)
        return readiness_degrade(call);
    degrade_begin(&descent, call);
    descent.error = error;
    if (!descent.kept)
        return -1;
    uint64_t own_ns = option_get_timeout(call->fd, SO_SNDTIMEO);
    descent.may_wait = true;
    descent.own_until_ns = own_ns ? call->begun_ns + own_ns : NEVER;
    errno = error;
    for (;;) {
        struct fallback_found found;
        int result;
        switch (fallback_find(&descent, clock_now_ns(), &found)) {
        case RUNG_HOST:
            point_at(call, &descent, &found);
            result = fall_back(call, &descent, &found);
            if (result == 0 || !call->is_exhausted)
                return result;
            fallback_skipped(&descent, SKIPPED_FAILED);
            break;
        case RUNG_RESPOND:
            if (stand_in(call, &descent)) {
                errno = call->error_before;
                return 0;
            }
            break;
        default:
            tell_rung(&descent, RUNG_ERROR, error);
            errno = error;
            return -1;
        }
    }
}

bool degrade_next(struct pending *pending, int error, struct call_step *step, bool *is_served)
{
    struct descent *descent = &pending->descent;
    struct descriptor *entry = pending->entry;
    *is_served = false;
    if (!descent->kept || !ladder_is_for(error))
        return false;
    if (descent->is_falling)
        fallback_skipped(descent, SKIPPED_FAILED);
    else if (!descent->place.is_begun)
        descent->error = error;
    struct fallback_found found;
    uint64_t now = clock_now_ns();
    if (atomic_load_explicit(&entry->state, memory_order_relaxed) & FAULTY) {
        fault_let_go(pending->fd, entry);
        flow_detach(entry);
        atomic_fetch_and_explicit(&entry->state, ~FAULTY, memory_order_relaxed);
    }
    pending->has_retry = false;
    for (bool is_found = false; !is_found;) {
        switch (fallback_find(descent, now, &found)) {
        case RUNG_HOST:
            is_found = true;
            break;
        case RUNG_RESPOND:
            if (wait_for_stand_in(pending, step, now))
                return true;
            *is_served = stand_in_for(pending);
            if (*is_served)
                return true;
            break;
        default:
            tell_rung(descent, RUNG_ERROR, descent->error);
            return false;
        }
    }
    pending->length = found.length;
    memcpy(&pending->address, &found.address, found.length);
    struct text text = text_begin(entry->target.text, sizeof entry->target.text);
    text_add(&text, "%s", found.text);
    entry->host = found.host;
    entry->ticket = found.ticket;
    pending->siblings = (struct siblings){.known = 1};
    pending->siblings_tried = 0;
    pending->marks = (struct siblings_marks){.has_others = false};
    pending->seed = process_next_seed();
    pending->connects_before =
        found.host.host ? atomic_load_explicit(&found.host.host->counts[HOST_CONNECTED], memory_order_relaxed)
                        : 0;
    struct call_params params = {.attempt_timeout_ns = found.time_ns, .timeout_error = ETIMEDOUT};
    *step = call_begin(&pending->call, &params, found.verdict, pending->seed, now);
    host_count(found.host, HOST_CALLS);
    return true;
}

void degrade_not(const struct kept_ladder *kept, struct host_handle host)
{
    served_fully(host);
    last_note(kept, RUNG_FULL, 0, 0);
}

struct call_step degrade_waited(struct pending *pending)
{
    int error = pending->descent.error;
    pending->descent.is_waiting = false;
    silence_end(pending);
    pending_enter(pending, PENDING_FLYING);
    bool is_served = stand_in_for(pending);
    return call_ended(&pending->call, is_served ? OUTCOME_SUCCESS : outcome_of_connect(error, true), error,
                      clock_now_ns());
}

void degrade_succeeded(struct pending *pending)
{
    struct descent *descent = &pending->descent;
    if (descent->kept && !descent->place.is_begun)
        degrade_not(descent->kept, descent->asked);
    else if (descent->kept && descent->is_falling)
        note_served(pending->entry, descent, RUNG_HOST);
}

/* A stand-in that takes its time: until then the descriptor is kept silent, as between two attempts. False: it takes none,
 * or cannot be kept so. */
static bool wait_for_stand_in(struct pending *pending, struct call_step *step, uint64_t now_ns)
{
    struct descent *descent = &pending->descent;
    uint64_t delay_ns = descent->kept->ladder.rungs[descent->place.rung].delay_ns;
    if (!delay_ns || !silence_begin(pending))
        return false;
    leave_host(pending);
    pending->call.action = CALL_WAIT;
    pending->call.due_ns = now_ns + delay_ns;
    descent->is_waiting = true;
    pending_enter(pending, PENDING_PARKED);
    *step = (struct call_step){.action = CALL_WAIT, .until_ns = pending->call.due_ns};
    return true;
}

/* Its circuit and its counters have nothing to do with what comes now. */
static void leave_host(struct pending *pending)
{
    static const struct policy nothing;
    const struct guard *guard = guard_of(&nothing);
    struct call_params params = {.timeout_error = ETIMEDOUT};
    call_begin(&pending->call, &params, BREAKER_ADMIT, pending->seed, clock_now_ns());
    pending->entry->host = (struct host_handle){.host = NULL};
    pending->has_breaker = false;
    if (guard)
        __atomic_store_n(&pending->entry->guard, guard, __ATOMIC_RELAXED);
}

static bool stand_in_for(struct pending *pending)
{
    struct descent *descent = &pending->descent;
    struct stand_in made;
    enum skipped_reason why;
    const struct rung *rung = &descent->kept->ladder.rungs[descent->place.rung];
    if (!stand_in_connect(pending->fd, fallback_like(descent), rung, &made, &why)) {
        fallback_skipped(descent, why);
        return false;
    }
    leave_host(pending);
    struct degraded *record = note_served(pending->entry, descent, RUNG_RESPOND);
    if (record)
        begin_stand_in(pending->entry, record, &made, descent);
    else
        take_back(pending->fd, &made);
    return record;
}

/* For a call that waits: so does its delay. */
static bool stand_in(struct connecting *call, struct descent *descent)
{
    static const struct policy nothing; /* its answers are not timed */
    const struct guard *guard = guard_of(&nothing);
    const struct rung *rung = &descent->kept->ladder.rungs[descent->place.rung];
    struct stand_in made;
    enum skipped_reason why;
    sigset_t mask;
    call->note = descriptor_note_begun(call->fd);
    signals_block(&mask);
    if (rung->delay_ns)
        signals_wait(-1, 0, clock_now_ns() + rung->delay_ns, &mask);
    bool is_made = guard && stand_in_connect(call->fd, fallback_like(descent), rung, &made, &why);
    if (is_made) {
        struct descriptor *entry = descriptor_adopt(call->fd, option_cookie(call->fd), guard,
                                                    (struct host_handle){.host = NULL}, call->text);
        struct degraded *record = entry ? note_served(entry, descent, RUNG_RESPOND) : NULL;
        if (record) {
            entry->owner = process_id();
            begin_stand_in(entry, record, &made, descent);
            transfer_adopt_copies(entry, call->fd);
        } else {
            take_back(call->fd, &made);
            is_made = false;
        }
    } else if (guard) {
        fallback_skipped(descent, why);
    }
    signals_restore(&mask);
    return is_made;
}

static void take_back(int fd, const struct stand_in *made)
{
    if (made->end >= 0)
        real.close(made->end);
    raw_disconnect(fd);
}

static void begin_stand_in(struct descriptor *entry, struct degraded *record, const struct stand_in *made,
                           const struct descent *descent)
{
    stand_in_begin(record, made, descent);
    atomic_fetch_or_explicit(&entry->state, CUT_OFF, memory_order_release);
}

/* A call that waits, to one address of a fallback host. */
static int fall_back(struct connecting *call, struct descent *descent, const struct fallback_found *found)
{
    call->rule = &descent->kept->fallback;
    call->verdict = found->verdict;
    call->ticket = found->ticket;
    call->is_exhausted = false;
    call->is_falling = true;
    call->note = descriptor_note_begun(call->fd);
    raw_disconnect(call->fd);
    error_queue_drain(call->fd, call->address);
    errno = call->error_before;
    int result = blocking_connect(call);
    if (result == 0 || is_under_way(errno)) {
        int error = errno;
        note_served(entry_for(call), descent, RUNG_HOST);
        errno = error;
    }
    return result;
}

static void point_at(struct connecting *call, struct descent *descent, const struct fallback_found *found)
{
    memcpy(&call->fallback, &found->address, sizeof call->fallback);
    call->address = &call->fallback.any;
    call->length = found->length;
    call->target = found->target;
    if (found->target.name) {
        struct text name = text_begin(call->name, sizeof call->name);
        text_add(&name, "%s", found->target.name);
        call->target.name = call->name;
    }
    call->rule = &descent->kept->fallback;
    call->host = found->host;
    call->verdict = found->verdict;
    call->ticket = found->ticket;
    call->begun_ns = descent->began_ns; /* one time for all addresses of the host */
    call->started_ns = clock_now_ns();
    call->seed = process_next_seed();
    call->has_place = false;
    call->cookie = 0;
    memcpy(call->text, found->text, sizeof call->text);
    host_count(call->host, HOST_CALLS);
}

/* The program is told apart what it has from what it asked for: in the recorder, the counters and by resil_degraded. */
static struct degraded *note_served(struct descriptor *entry, const struct descent *descent,
                                    enum rung_kind rung)
{
    uint64_t now = clock_now_ns();
    struct degraded *record = entry && process_owns_memory() ? degraded_note(entry, stand_in_let_go) : NULL;
    if (record) {
        record->rung = rung;
        record->presents_asked =
            rung != RUNG_HOST || !descent->kept->ladder.rungs[descent->place.rung].presents_real;
        record->asked_length = descent->asked_length;
        memcpy(&record->asked, &descent->asked_address, sizeof record->asked);
    } else {
        segment_passed(PASSED_NO_MEMORY);
        if (rung == RUNG_RESPOND) /* what is sent to it would really be sent */
            return NULL;
    }
    served_told(descent->asked, rung, now);
    if (!descent->is_limited) /* others may still be served by the host itself */
        served_stay(descent->asked, descent->kept->ladder.rungs[descent->place.rung].stick_ns, now);
    tell_rung(descent, rung, descent->error);
    return record;
}

/* Where there was nothing to watch there is no entry yet. */
static struct descriptor *entry_for(struct connecting *call)
{
    struct descriptor *entry = descriptor_of(call->fd);
    if (entry)
        return entry;
    static const struct policy nothing; /* the data path has nothing to do for it */
    const struct guard *guard = guard_of(&nothing);
    entry = guard ? descriptor_adopt(call->fd, option_cookie(call->fd), guard, call->host, call->text) : NULL;
    if (!entry)
        return NULL;
    entry->owner = process_id();
    transfer_adopt_copies(entry, call->fd);
    return entry;
}

static void tell_rung(const struct descent *descent, enum rung_kind rung, int error)
{
    uint64_t now = clock_now_ns();
    last_note(descent->kept, rung, descent->place.rung, error);
    if (rung == RUNG_ERROR) {
        served_told(descent->asked, rung, now);
        served_move_on(descent->asked);
    }
    if (!hosts_sample(descent->asked, SAMPLE_DEGRADED, EVENT_DEGRADED, now))
        return;
    struct event event = event_about(EVENT_DEGRADED, descent->asked_text);
    event.time_ns = now;
    event.error = error;
    event.attempt = (uint16_t)(descent->place.rung + 1);
    event.count = EVENT_OF_RUNG(rung, 0, rung == RUNG_HOST ? descent->port : 0);
    if (rung == RUNG_HOST)
        memcpy(event.address, descent->address.bytes, sizeof event.address);
    tell(&event);
}

/* The program's own timeout, or a signal, has ended its call; the attempt goes on. */
static bool is_under_way(int error)
{
    return error == EINPROGRESS || error == EALREADY || error == EINTR;
}
