#include "drive/fallback.h"

#include <string.h>

#include "base/clock.h"
#include "drive/ask_name.h"
#include "drive/connect.h"
#include "drive/name_files.h"
#include "drive/options.h"
#include "drive/signals.h"
#include "drive/tell.h"
#include "state/kept_names.h"

#define RESOLVE_NS (5 * NS_PER_S)     /* where the rule does not say */
#define OVERDUE_NS (1800 * NS_PER_MS) /* longer nobody waits to hear whether what is known has changed */

static void look_up(const struct descent *descent, const char *name, uint64_t now_ns);
static bool find_address(struct descent *descent, const struct fallback *host, struct fallback_found *found,
                         uint64_t now_ns);
static bool make_address(struct descent *descent, const struct address *address, uint16_t port,
                         struct fallback_found *found);
static bool is_asked(const struct descent *descent, const struct address *address, uint16_t port);
static uint16_t asked_port(const struct descent *descent);
static bool admit(struct descent *descent, struct fallback_found *found, uint64_t now_ns);

enum rung_kind fallback_find(struct descent *descent, uint64_t now_ns, struct fallback_found *found)
{
    const struct ladder *ladder = &descent->kept->ladder;
    for (;;) {
        /* More addresses of the host that has just failed, while its time lasts. */
        bool is_same_host = descent->is_falling && descent->next_address;
        enum rung_kind kind = RUNG_HOST;
        if (!is_same_host) {
            kind = ladder_descend(&ladder->shape, LADDER_CONNECT, &descent->place);
            descent->began_ns = now_ns;
            descent->next_address = 0;
        }
        descent->is_falling = kind == RUNG_HOST;
        if (kind != RUNG_HOST)
            return kind;
        if (find_address(descent, &ladder->rungs[descent->place.rung].hosts[descent->place.choice], found,
                         now_ns))
            return RUNG_HOST;
    }
}

const struct sockaddr *fallback_like(const struct descent *descent)
{
    static const struct sockaddr_in6 mapped = {
        .sin6_family = AF_INET6,
        .sin6_addr = {.s6_addr = {[10] = 0xff, 0xff, 127, 0, 0, 1}},
    };
    return descent->is_mapped ? (const struct sockaddr *)&mapped : &descent->asked_address.any;
}

void fallback_skipped(const struct descent *descent, enum skipped_reason why)
{
    enum rung_kind kind =
        descent->is_falling ? RUNG_HOST : descent->kept->ladder.shape.rungs[descent->place.rung].kind;
    uint64_t now = clock_now_ns();
    if (why == SKIPPED_UNKNOWN)
        segment_passed(PASSED_FALLBACK_UNKNOWN);
    if (!hosts_sample(descent->asked, SAMPLE_SKIPPED, EVENT_RUNG_SKIPPED, now))
        return;
    struct event event = event_about(EVENT_RUNG_SKIPPED, descent->asked_text);
    event.time_ns = now;
    event.attempt = (uint16_t)(descent->place.rung + 1);
    event.count = EVENT_OF_RUNG(kind, why, kind == RUNG_HOST ? descent->port : 0);
    if (kind == RUNG_HOST)
        memcpy(event.address, descent->address.bytes, sizeof event.address);
    tell(&event);
}

/* False: this host has no (more) address to try. */
static bool find_address(struct descent *descent, const struct fallback *host, struct fallback_found *found,
                         uint64_t now_ns)
{
    struct address addresses[DESCENT_ADDRESSES_MAX];
    unsigned first = descent->next_address;
    if (host->name && first == 0) {
        look_up(descent, host->name, now_ns);
        now_ns = clock_now_ns();
    }
    unsigned count = fallback_addresses(host, addresses, DESCENT_ADDRESSES_MAX);
    uint64_t time_ns = descent->kept->fallback.policy.timeout.connect_ns,
             gone_ns = now_ns - descent->began_ns;
    enum skipped_reason why = count ? SKIPPED_FAMILY : SKIPPED_UNKNOWN;
    descent->next_address = 0;
    descent->port = host->port ? host->port : asked_port(descent);
    if (time_ns && gone_ns >= time_ns)
        return false;
    for (unsigned i = first; i < count; i++) {
        descent->address = addresses[i];
        if (!descent->is_led && is_asked(descent, &addresses[i], descent->port)) {
            why = SKIPPED_SAME;
            continue;
        }
        if (!make_address(descent, &addresses[i], descent->port, found))
            continue;
        found->target = (struct target){.name = host->name,
                                        .address = addresses[i],
                                        .has_address = true,
                                        .port = descent->port,
                                        .protocol = PROTOCOL_TCP};
        target_text(&found->target, found->text, sizeof found->text);
        found->time_ns = time_ns ? time_ns - gone_ns : 0;
        why = SKIPPED_OPEN;
        if (!admit(descent, found, now_ns))
            break; /* the circuit is the host's, not the address's */
        descent->next_address = i + 1 < count ? i + 1 : 0;
        return true;
    }
    if (first == 0)
        fallback_skipped(descent, why);
    return false;
}

/* Sees to it that what all processes know of it is no older than it may be. The time that it takes is out of the host's
 * own, and a half of that at most: the connect needs some too. */
static void look_up(const struct descent *descent, const char *name, uint64_t now_ns)
{
    uint64_t connect_ns = descent->kept->fallback.policy.timeout.connect_ns;
    struct stale_state state;
    struct address addresses[KEPT_ADDRESSES_MAX];
    unsigned count;
    bool is_over = false;
    kept_names_find(name, KEPT_ANY, &state, addresses);
    if (!stale_is_due(&state, kept_names_now_ns()))
        return;
    count = name_files_hosts(name, addresses, KEPT_ADDRESSES_MAX);
    if (!count && descent->may_wait) {
        uint64_t resolve_ns = descent->kept->rule.policy.timeout.resolve_ns;
        uint64_t allowed_ns = shorter(resolve_ns ? resolve_ns : RESOLVE_NS, connect_ns / 2);
        if (state.has_answer)
            allowed_ns = shorter(allowed_ns, OVERDUE_NS);
        uint64_t until_ns = now_ns + allowed_ns;
        sigset_t mask;
        signals_block(&mask);
        is_over = ask_name(name, until_ns < descent->own_until_ns ? until_ns : descent->own_until_ns, &mask,
                           addresses, &count, KEPT_ADDRESSES_MAX) == ASKED_IN_VAIN;
        signals_restore(&mask);
    }
    if (count)
        kept_names_answered(name, KEPT_ANY, addresses, count);
    else if (is_over)
        kept_names_failed(name, true);
}

unsigned fallback_addresses(const struct fallback *host, struct address *addresses, unsigned most)
{
    if (host->name)
        return kept_names_addresses(host->name, addresses, most);
    addresses[0] = host->address;
    return 1;
}

/* In the form that the program's socket takes: that of what it asked for. */
static bool make_address(struct descent *descent, const struct address *address, uint16_t port,
                         struct fallback_found *found)
{
    memset(&found->address, 0, sizeof found->address);
    if (descent->asked_address.any.sa_family == AF_INET) {
        if (!address_is_v4(address))
            return false;
        found->length = sizeof found->address.v4;
        found->address.v4.sin_family = AF_INET;
        found->address.v4.sin_port = htons(port);
        memcpy(&found->address.v4.sin_addr, address->bytes + 12, 4);
        return true;
    }
    if (descent->is_mapped && !address_is_v4(address))
        return false; /* the kernel would go on using the socket as if it were IPv4's */
    descent->is_mapped |= address_is_v4(address);
    found->length = sizeof found->address.v6;
    found->address.v6.sin6_family = AF_INET6;
    found->address.v6.sin6_port = htons(port);
    memcpy(&found->address.v6.sin6_addr, address->bytes, 16);
    return true;
}

static bool is_asked(const struct descent *descent, const struct address *address, uint16_t port)
{
    struct target target;
    return target_of_sockaddr(&descent->asked_address.any, descent->asked_length, &target) &&
           target.port == port && address_equal(&target.address, address);
}

static uint16_t asked_port(const struct descent *descent)
{
    return ntohs(descent->asked_address.any.sa_family == AF_INET ? descent->asked_address.v4.sin_port
                                                                 : descent->asked_address.v6.sin6_port);
}

/* Its own circuit. */
static bool admit(struct descent *descent, struct fallback_found *found, uint64_t now_ns)
{
    const struct rule *rule = &descent->kept->fallback;
    found->host = hosts_find(rule, &found->target, now_ns);
    found->verdict = BREAKER_ADMIT;
    found->ticket = (struct breaker_ticket){0, false};
    if (!rule->policy.breaker.is_on)
        return true;
    struct breaker_answer answer = breakers_admit(found->host, &rule->policy.breaker.params, now_ns);
    found->verdict = answer.verdict;
    found->ticket = answer.ticket;
    if (answer.verdict == BREAKER_REJECT) {
        host_count(found->host, HOST_REJECTED);
        return false;
    }
    if (answer.verdict == BREAKER_PROBE) {
        host_count(found->host, HOST_PROBES);
        struct event event = event_about(EVENT_PROBE, found->text);
        tell(&event);
    }
    return true;
}
