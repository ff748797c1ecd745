#include <string.h>

#include "base/clock.h"
#include "drive/connect.h"
#include "drive/flight.h"
#include "drive/siblings.h"
#include "state/latencies.h"

static struct event about(struct pending *pending, enum event_kind kind);

void flight_report(struct pending *pending, enum breaker_report what, int error)
{
    struct descriptor *entry = pending->entry;
    if (!pending->has_breaker || (pending->phase != PENDING_FLYING && pending->phase != PENDING_PARKED))
        return;
    connect_report(entry->host, descriptor_target(entry).text, &descriptor_guard(entry)->breaker,
                   pending->descent.kept ? CONNECT_LADDER : pending->breaker_error, entry->ticket,
                   siblings_judge(&pending->marks, entry->host, pending->siblings_tried, what, error),
                   pending->seed, pending->is_shadow);
}

void flight_tell(struct pending *pending, enum event_kind kind, int error, uint64_t duration_ns,
                 uint64_t delay_ns)
{
    struct event event = about(pending, kind);
    event.duration_ns = duration_ns;
    event.delay_ns = delay_ns;
    event.error = error;
    tell(&event);
}

static struct event about(struct pending *pending, enum event_kind kind)
{
    const struct call_params *params = &pending->call.params;
    uint32_t retries = pending->is_shadow ? pending->shadow.max_retries : params->max_retries;
    uint64_t most = (uint64_t)(retries + 1) * (params->siblings + 1);
    struct event event = event_about(kind, descriptor_target(pending->entry).text);
    event.attempt = (uint16_t)pending->call.attempts;
    event.attempts = (uint16_t)(most < UINT16_MAX ? most : UINT16_MAX);
    event.flags = pending->is_shadow ? EVENT_SHADOW : 0;
    if (pending->siblings.known > 1) {
        union flight_address sibling;
        struct target target;
        if (target_of_sockaddr(flight_address(pending, &sibling), pending->length, &target))
            memcpy(event.address, target.address.bytes, sizeof event.address);
    }
    return event;
}

void flight_tell_failure(struct pending *pending, const struct call_step *step, uint64_t now_ns)
{
    struct event event = about(pending, EVENT_CONNECT_FAILED);
    event.duration_ns = now_ns - pending->call.begun_ns;
    event.error = step->error;
    event.count = pending->is_unparkable ? GIVEN_UP_NOT_PARKED : given_up_because(step->why);
    tell(&event);
}

void flight_tell_sibling(struct pending *pending, uint64_t now_ns)
{
    uint32_t next = pending->call.address;
    host_count(pending->entry->host, HOST_SIBLINGS);
    pending->call.address = next - 1;
    pending->call.attempts--;
    flight_tell(pending, EVENT_SIBLING, pending->call.last_error, now_ns - pending->call.begun_ns, 0);
    pending->call.address = next;
    pending->call.attempts++;
}

/* Once: what would come after that would have been another call. */
void flight_tell_what_would_follow(struct pending *pending, enum outcome outcome, int error)
{
    uint64_t took_ns = clock_now_ns() - pending->call.begun_ns;
    if (outcome == OUTCOME_TIMEOUT && pending->shadow.connect_ns && took_ns > pending->shadow.connect_ns) {
        flight_tell(pending, EVENT_TIMEOUT_CONNECT, ETIMEDOUT, pending->shadow.connect_ns, 0);
        host_count(pending->entry->host, HOST_WOULD_CUT);
        host_spared(pending->entry->host, took_ns - pending->shadow.connect_ns);
    } else if (pending->shadow.max_retries && outcome_is_failure(outcome) &&
               pending->call.params.retry_on & OUTCOME_BIT(outcome) && !pending->call.is_probe) {
        flight_tell(pending, EVENT_RETRY, error, took_ns, pending->call.params.backoff.base_delay_ns);
        host_count(pending->entry->host, HOST_WOULD_RETRY);
    } else {
        return;
    }
    host_count(pending->entry->host, HOST_SHADOWED);
}
