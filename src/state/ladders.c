#include "state/ladders.h"

#include <string.h>

#include "base/arena.h"
#include "base/hash.h"

#define LADDERS_MAX  1024u /* more than that many versions of rules do without */
#define MEMORY_BYTES ((size_t)4 << 20)

static const struct kept_ladder *kept[LADDERS_MAX];

static uint64_t key_of(const struct rule *rule);
static const struct kept_ladder *copy_of(const struct rule *rule, uint64_t key);
static bool copy_rung(struct arena *arena, const struct rung *from, uint32_t choices, struct rung *to);
static const void *copy(struct arena *arena, const void *bytes, size_t size, bool *is_whole);

const struct kept_ladder *ladder_keep(const struct rule *rule)
{
    if (!rule->policy.ladder)
        return NULL;
    uint64_t key = key_of(rule);
    for (unsigned i = 0; i < LADDERS_MAX; i++) {
        const struct kept_ladder **place = &kept[(key + i) % LADDERS_MAX];
        const struct kept_ladder *found = __atomic_load_n(place, __ATOMIC_ACQUIRE);
        if (!found) {
            const struct kept_ladder *mine = copy_of(rule, key);
            if (!mine)
                return NULL;
            if (__atomic_compare_exchange_n(place, &found, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
                return mine;
            arena_close(mine->arena);
        }
        if (found->key == key)
            return found;
    }
    return NULL;
}

static uint64_t key_of(const struct rule *rule)
{
    struct policy policy;
    memcpy(&policy, &rule->policy, sizeof policy); /* with its padding, which the loader has zeroed */
    policy.ladder = NULL;
    uint64_t seed = rule->identity ^ hash_mix(rule->policy.ladder->hash);
    return hash_bytes(&policy, sizeof policy, seed) | 1;
}

static const struct kept_ladder *copy_of(const struct rule *rule, uint64_t key)
{
    struct arena *arena = arena_open(MEMORY_BYTES);
    struct kept_ladder *mine = arena ? arena_get(arena, sizeof *mine) : NULL;
    bool is_whole = mine != NULL;
    if (mine) {
        mine->key = key;
        mine->arena = arena;
        mine->ladder.shape = rule->policy.ladder->shape;
        mine->ladder.hash = rule->policy.ladder->hash;
        mine->rule = (struct rule){
            .name = copy(arena, rule->name, strlen(rule->name) + 1, &is_whole),
            .policy = rule->policy,
            .identity = rule->identity,
            .breaker_params_hash = rule->breaker_params_hash,
        };
        mine->rule.policy.ladder = &mine->ladder;
        mine->fallback = mine->rule;
        mine->fallback.policy.ladder = NULL;
        mine->fallback.policy.retry.is_on = false;
        mine->fallback.policy.limit.is_on = false;
        mine->fallback.policy.timeout.total_ns = rule->policy.timeout.connect_ns;
        for (uint32_t i = 0; i < mine->ladder.shape.count; i++)
            is_whole &= copy_rung(arena, &rule->policy.ladder->rungs[i], mine->ladder.shape.rungs[i].choices,
                                  &mine->ladder.rungs[i]);
    }
    if (!is_whole)
        arena_close(arena);
    return is_whole ? mine : NULL;
}

static bool copy_rung(struct arena *arena, const struct rung *from, uint32_t choices, struct rung *to)
{
    bool is_whole = true;
    *to = *from;
    to->file = NULL;
    to->addresses = copy(arena, from->addresses, from->address_count * sizeof *from->addresses, &is_whole);
    to->canned.bytes = copy(arena, from->canned.bytes, from->canned.length, &is_whole);
    if (!from->hosts)
        return is_whole;
    struct fallback *hosts = arena_get(arena, choices * sizeof *hosts);
    for (uint32_t i = 0; hosts && i < choices; i++) {
        hosts[i] = from->hosts[i];
        if (hosts[i].name)
            hosts[i].name = copy(arena, hosts[i].name, strlen(hosts[i].name) + 1, &is_whole);
    }
    to->hosts = hosts;
    return is_whole && hosts;
}

/* NULL stays NULL. */
static const void *copy(struct arena *arena, const void *bytes, size_t size, bool *is_whole)
{
    if (!bytes)
        return NULL;
    void *mine = arena_get(arena, size);
    if (mine)
        memcpy(mine, bytes, size);
    else
        *is_whole = false;
    return mine;
}
