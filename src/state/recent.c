#include "state/recent.h"

#include <string.h>

/* Guarded by its sequence: odd while it is written. */
struct recent {
    uint64_t sequence;
    uint64_t address[2], port_and_protocol;
    const struct rule *rule;
    struct host *host;
    uint64_t key;
    const struct segment *segment; /* in which the host is */
};

static struct recent *place_of(const struct ruleset *rules, const uint64_t address[2], uint64_t port);
static uint64_t port_and_protocol(const struct target *target);
static bool is_asked_for(const struct target *target);

const struct rule *recent_find(const struct ruleset *rules, const struct target *target,
                               struct host_handle *host, uint64_t now_ns)
{
    uint64_t address[2];
    if (!is_asked_for(target))
        return NULL;
    memcpy(address, target->address.bytes, sizeof address);
    const struct recent *place = place_of(rules, address, target->port);
    uint64_t before = __atomic_load_n(&place->sequence, __ATOMIC_ACQUIRE);
    bool is_it = __atomic_load_n(&place->address[1], __ATOMIC_ACQUIRE) == address[1] &&
                 __atomic_load_n(&place->address[0], __ATOMIC_ACQUIRE) == address[0] &&
                 __atomic_load_n(&place->port_and_protocol, __ATOMIC_ACQUIRE) == port_and_protocol(target);
    const struct rule *rule = __atomic_load_n(&place->rule, __ATOMIC_ACQUIRE);
    struct host_handle known = {__atomic_load_n(&place->host, __ATOMIC_ACQUIRE),
                                __atomic_load_n(&place->key, __ATOMIC_ACQUIRE)};
    is_it &= __atomic_load_n(&place->segment, __ATOMIC_ACQUIRE) == segment_current;
    if (!is_it || before & 1 || __atomic_load_n(&place->sequence, __ATOMIC_RELAXED) != before ||
        !hosts_again(known, now_ns))
        return NULL;
    *host = known;
    return rule;
}

void recent_remember(const struct ruleset *rules, const struct target *target, const struct rule *rule,
                     struct host_handle host)
{
    uint64_t address[2];
    if (!is_asked_for(target) || !host.host)
        return;
    memcpy(address, target->address.bytes, sizeof address);
    struct recent *place = place_of(rules, address, target->port);
    uint64_t before = __atomic_load_n(&place->sequence, __ATOMIC_RELAXED);
    if (before & 1 || !__atomic_compare_exchange_n(&place->sequence, &before, before + 1, false,
                                                   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return; /* another thread is at it, or a signal handler that never came back was */
    __atomic_store_n(&place->address[0], address[0], __ATOMIC_RELEASE);
    __atomic_store_n(&place->address[1], address[1], __ATOMIC_RELEASE);
    __atomic_store_n(&place->port_and_protocol, port_and_protocol(target), __ATOMIC_RELEASE);
    __atomic_store_n(&place->rule, rule, __ATOMIC_RELEASE);
    __atomic_store_n(&place->host, host.host, __ATOMIC_RELEASE);
    __atomic_store_n(&place->key, host.key, __ATOMIC_RELEASE);
    __atomic_store_n(&place->segment, segment_current, __ATOMIC_RELEASE);
    __atomic_store_n(&place->sequence, before + 2, __ATOMIC_RELEASE);
}

static struct recent *place_of(const struct ruleset *rules, const uint64_t address[2], uint64_t port)
{
    _Static_assert(sizeof(struct recent) == sizeof *rules->recent, "there is room for it");
    return (struct recent *)rules->recent[(address[1] >> 56 ^ port) % RULES_RECENT];
}

static uint64_t port_and_protocol(const struct target *target)
{
    return (uint64_t)target->protocol << 16 | target->port;
}

static bool is_asked_for(const struct target *target)
{
    return target->has_address && !target->name;
}
