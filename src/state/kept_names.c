#include "state/kept_names.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/hash.h"
#include "state/segment.h"

#define REACH    8u         /* a name is within this many places of where its hash points */
#define STUCK_NS (NS_PER_S) /* whoever writes for longer is not coming back */

static struct kept_name *place_of(uint64_t hash, bool may_claim);
static uint64_t hash_of(const char *name, enum kept_family family);
static uint64_t answered_before(const struct kept_name *place, uint64_t now);
static const struct kept_version *newest_of(const struct kept_name *place, const char *name,
                                            enum kept_family family, struct kept_answer *answer);
static bool read_version(const struct kept_version *version, struct kept_answer *answer);
static unsigned take(const struct kept_answer *answer, enum kept_family family, struct address *addresses);
static uint64_t checksum(const struct kept_answer *answer);

uint64_t kept_names_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void kept_names_answered(const char *name, enum kept_family family, const struct address *addresses,
                         unsigned count)
{
    size_t length = strlen(name);
    uint64_t now = kept_names_now_ns();
    struct kept_name *place =
        count && length < KEPT_NAME_BYTES ? place_of(hash_of(name, family), true) : NULL;
    if (!place)
        return;
    uint64_t writer = atomic_load_explicit(&place->writer, memory_order_relaxed);
    bool is_free = writer == 0 || writer > now || now - writer > STUCK_NS;
    if (!is_free || !atomic_compare_exchange_strong_explicit(&place->writer, &writer, now,
                                                             memory_order_acquire, memory_order_relaxed))
        return; /* another process is keeping an answer that is as new */
    struct kept_answer answer = {.answered_ns = now,
                                 .family = family,
                                 .count = count < KEPT_ADDRESSES_MAX ? count : KEPT_ADDRESSES_MAX};
    memcpy(answer.name, name, length);
    for (unsigned i = 0; i < answer.count; i++)
        memcpy(answer.addresses[i], addresses[i].bytes, sizeof answer.addresses[i]);
    /* The last one stays where it is until there is a newer one: a writer may be killed at any moment. */
    struct kept_answer last;
    const struct kept_version *taken = newest_of(place, name, family, &last);
    struct kept_version *version = &place->versions[taken == &place->versions[0]];
    atomic_store_explicit(&version->checksum, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    version->answer = answer;
    atomic_store_explicit(&version->checksum, checksum(&answer), memory_order_release);
    atomic_store_explicit(&place->failed_ns, 0, memory_order_relaxed);
    atomic_compare_exchange_strong_explicit(&place->writer, &now, 0, memory_order_release,
                                            memory_order_relaxed);
}

void kept_names_failed(const char *name, bool is_wanted)
{
    for (unsigned family = 0; family < KEPT_FAMILIES; family++) {
        struct kept_name *place =
            place_of(hash_of(name, (enum kept_family)family), is_wanted && family == KEPT_ANY);
        if (place)
            atomic_store_explicit(&place->failed_ns, kept_names_now_ns(), memory_order_relaxed);
    }
}

unsigned kept_names_find(const char *name, enum kept_family family, struct stale_state *state,
                         struct address *addresses)
{
    unsigned count = 0;
    *state = (struct stale_state){.has_answer = false};
    for (unsigned asked = 0; asked < KEPT_FAMILIES; asked++) {
        struct kept_answer answer;
        struct address found[KEPT_ADDRESSES_MAX];
        bool may_have = asked == KEPT_ANY || family == KEPT_ANY || asked == (unsigned)family;
        struct kept_name *place = may_have ? place_of(hash_of(name, (enum kept_family)asked), false) : NULL;
        if (!place)
            continue;
        uint64_t failed_ns = atomic_load_explicit(&place->failed_ns, memory_order_relaxed);
        state->failed_ns = failed_ns > state->failed_ns ? failed_ns : state->failed_ns;
        bool is_known = newest_of(place, name, (enum kept_family)asked, &answer) != NULL;
        unsigned here = is_known ? take(&answer, family, found) : 0;
        if (!here || (count && answer.answered_ns <= state->answered_ns))
            continue;
        count = here;
        memcpy(addresses, found, here * sizeof *found);
        state->has_answer = true;
        state->answered_ns = answer.answered_ns;
    }
    return count;
}

unsigned kept_names_addresses(const char *name, struct address *addresses, unsigned most)
{
    struct stale_state state;
    struct address all[KEPT_ADDRESSES_MAX];
    unsigned count = kept_names_find(name, KEPT_ANY, &state, all);
    count = count < most ? count : most;
    memcpy(addresses, all, count * sizeof *addresses);
    return count;
}

/* Those of the family. */
static unsigned take(const struct kept_answer *answer, enum kept_family family, struct address *addresses)
{
    unsigned count = 0;
    for (unsigned i = 0; i < answer->count; i++) {
        struct address address;
        memcpy(address.bytes, answer->addresses[i], sizeof address.bytes);
        if (family == KEPT_ANY || address_is_v4(&address) == (family == KEPT_V4))
            addresses[count++] = address;
    }
    return count;
}

static uint64_t hash_of(const char *name, enum kept_family family)
{
    return hash_bytes(name, strlen(name), (uint64_t)family);
}

/* Its place, or (to write to) a free one, or that of the oldest answer within reach. */
static struct kept_name *place_of(uint64_t hash, bool may_claim)
{
    struct segment *segment = segment_current;
    struct kept_name *oldest = NULL;
    uint64_t oldest_ns = 0, mark = hash | 1;
    if (!segment)
        return NULL;
    uint64_t now = may_claim ? kept_names_now_ns() : 0;
    for (unsigned i = 0; i < REACH; i++) {
        struct kept_name *place = &segment->names[(hash + i) % KEPT_NAMES_MAX];
        uint64_t found = atomic_load_explicit(&place->mark, memory_order_acquire);
        if (found == mark)
            return place;
        uint64_t answered_ns = found ? answered_before(place, now) : 0;
        if (!oldest || answered_ns < oldest_ns) {
            oldest = place;
            oldest_ns = answered_ns;
        }
    }
    if (!may_claim)
        return NULL;
    /* What is there reads as not known from now on: its checksum is of another name. */
    uint64_t before = atomic_load_explicit(&oldest->mark, memory_order_relaxed);
    if (before != mark)
        atomic_store_explicit(&oldest->failed_ns, 0, memory_order_relaxed);
    return before == mark || atomic_compare_exchange_strong_explicit(
                                 &oldest->mark, &before, mark, memory_order_acq_rel, memory_order_relaxed)
               ? oldest
               : NULL;
}

/* When the newer of its answers came; 0: never. No answer comes from the future: a place whose time was damaged, or is of
 * another clock, would be kept for ever. */
static uint64_t answered_before(const struct kept_name *place, uint64_t now)
{
    uint64_t newer = 0;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t answered_ns = place->versions[i].answer.answered_ns;
        if (answered_ns <= now && answered_ns > newer)
            newer = answered_ns;
    }
    return newer;
}

/* The newest whole answer for that name; NULL: none. */
static const struct kept_version *newest_of(const struct kept_name *place, const char *name,
                                            enum kept_family family, struct kept_answer *answer)
{
    const struct kept_version *newest = NULL;
    uint64_t now = kept_names_now_ns();
    for (unsigned i = 0; i < 2; i++) {
        struct kept_answer found;
        const struct kept_version *version = &place->versions[i];
        if (!read_version(version, &found) || strncmp(found.name, name, sizeof found.name) != 0 ||
            found.family != family || found.answered_ns > now)
            continue;
        if (newest && found.answered_ns <= answer->answered_ns)
            continue;
        newest = version;
        *answer = found;
    }
    return newest;
}

/* False: what is there is no whole answer. */
static bool read_version(const struct kept_version *version, struct kept_answer *answer)
{
    for (int tries = 0; tries < 3; tries++) {
        uint64_t sum = atomic_load_explicit(&version->checksum, memory_order_acquire);
        memcpy(answer, (const void *)&version->answer, sizeof *answer);
        atomic_thread_fence(memory_order_acquire);
        if (sum && sum == checksum(answer))
            return answer->count && answer->count <= KEPT_ADDRESSES_MAX;
    }
    return false;
}

static uint64_t checksum(const struct kept_answer *answer)
{
    return hash_bytes(answer, sizeof *answer, 0x6b657074) | 1; /* never 0 */
}
