#include "state/descriptors.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/hash.h"
#include "base/text.h"
#include "state/faults.h"
#include "state/own.h"
#include "state/pool.h"

#define LIMIT_MAX  (1u << 20)
#define LIMIT_MIN  (1u << 16)
#define GUARDS_MAX 4096u

/* Numbers of which it is kept whether a stream was made of them while their kind was not known. */
#define UNSEEN_STREAMS 256u
_Static_assert(POOL_ENTRIES_MAX >= LIMIT_MAX, "there is an entry for each number");

HOT struct descriptor **descriptor_table = NULL;
HOT unsigned descriptor_limit = 0;
HOT uint16_t *descriptor_notes = NULL;
static unsigned copied_end; /* no number from here on is SOCKET_COPIED */
static unsigned early_end;  /* no number from here on was copied before there was a table */
static uint64_t unseen_streams[UNSEEN_STREAMS / 64]; /* a bit for each: a stream was made of it */
unsigned descriptor_guarded_end;

const struct guard guard_of_nothing = {0};
static const struct guard **guards;

static void fill(struct guard *values, const struct policy *policy);
static const struct guard *shared(struct guard *wanted);
static void put(int fd, struct descriptor *entry);
static bool is_last_reference(struct descriptor *entry);
static void raise_end(unsigned *end, int fd);

bool descriptors_open(void)
{
    if (descriptor_limit)
        return true;
    struct rlimit most = {0, 0};
    getrlimit(RLIMIT_NOFILE, &most);
    unsigned limit = most.rlim_max > LIMIT_MAX ? LIMIT_MAX : (unsigned)most.rlim_max;
    if (limit < LIMIT_MIN)
        limit = LIMIT_MIN; /* root may raise it */
    /* Reserved, not used: pages come with the descriptors. */
    void *table = map_zeroed(limit * sizeof *descriptor_table);
    void *all_notes = map_zeroed(limit * sizeof *descriptor_notes);
    void *shared = map_zeroed(GUARDS_MAX * sizeof *guards);
    if (!table || !all_notes || !shared || !pool_open())
        return false; /* once per process; what was had is not worth giving back */
    descriptor_notes = all_notes;
    guards = shared;
    descriptor_table = table;
    __atomic_store_n(&descriptor_limit, limit, __ATOMIC_RELEASE);
    return true;
}

void descriptor_note_kind(int fd, unsigned note)
{
    if ((unsigned)fd < descriptor_limit && __atomic_load_n(&descriptor_notes[fd], __ATOMIC_RELAXED) != note)
        __atomic_store_n(&descriptor_notes[fd], (uint16_t)note, __ATOMIC_RELAXED);
}

void descriptor_note_with(int fd, unsigned bits)
{
    if (descriptor_note(fd) & SOCKET_KIND)
        __atomic_fetch_or(&descriptor_notes[fd], (uint16_t)bits, __ATOMIC_RELAXED);
}

void descriptor_note_without(int fd, unsigned bits)
{
    if (descriptor_note(fd) & bits)
        __atomic_fetch_and(&descriptor_notes[fd], (uint16_t)~bits, __ATOMIC_RELAXED);
}

void descriptor_note_unblocked(int fd)
{
    uint16_t known = (uint16_t)descriptor_note(fd), wanted;
    do {
        bool is_only = known & SOCKET_KIND && !(known & SOCKET_COPIED);
        wanted = (uint16_t)((known & ~SOCKET_FRESH) | (is_only ? SOCKET_UNBLOCKED : 0));
    } while (wanted != known && !own_replace_16(&descriptor_notes[fd], &known, wanted));
}

void descriptor_note_shut(int fd)
{
    if (descriptor_note(fd) & SOCKET_BEGUN)
        __atomic_fetch_or(&descriptor_notes[fd], SOCKET_SHUT, __ATOMIC_RELAXED);
}

unsigned descriptor_note_begun(int fd)
{
    static _Atomic uint32_t begun;
    if ((unsigned)fd >= descriptor_limit)
        return SOCKET_UNKNOWN;
    unsigned number = own_count_32(&begun) % 127 + 1;
    unsigned note =
        (descriptor_note(fd) & ~(SOCKET_SHUT | SOCKET_BEGUN)) | number * (SOCKET_BEGUN & -SOCKET_BEGUN);
    descriptor_note_kind(fd, note);
    return note;
}

bool descriptor_is_still(int fd, unsigned note)
{
    return ((descriptor_note(fd) ^ note) & (SOCKET_KIND | SOCKET_BEGUN)) == 0;
}

static void note_copied(int fd)
{
    if ((unsigned)fd >= descriptor_limit)
        return;
    __atomic_fetch_or(&descriptor_notes[fd], SOCKET_COPIED, __ATOMIC_RELAXED);
    raise_end(&copied_end, fd);
}

bool descriptor_is_copied(int fd)
{
    return descriptor_note(fd) & SOCKET_COPIED;
}

int descriptor_next_copied(unsigned fd)
{
    unsigned end = __atomic_load_n(&copied_end, __ATOMIC_ACQUIRE);
    unsigned early = __atomic_load_n(&early_end, __ATOMIC_ACQUIRE);
    for (; fd < end || fd < early; fd++)
        if (descriptor_is_copied((int)fd) || (fd < early && descriptor_kind((int)fd) == SOCKET_UNKNOWN))
            return (int)fd;
    return -1;
}

void descriptor_copied_early(int fd, int copy)
{
    raise_end(&early_end, fd > copy ? fd : copy);
}

void descriptor_note_stream(int fd)
{
    if (descriptor_kind(fd) != SOCKET_UNKNOWN)
        descriptor_note_with(fd, SOCKET_STREAM);
    else if ((unsigned)fd < UNSEEN_STREAMS)
        __atomic_fetch_or(&unseen_streams[fd / 64], UINT64_C(1) << fd % 64, __ATOMIC_RELAXED);
}

/* Of what kind it was is not known yet. */
static bool is_unseen_stream(int fd)
{
    return (unsigned)fd < UNSEEN_STREAMS &&
           __atomic_load_n(&unseen_streams[fd / 64], __ATOMIC_RELAXED) >> fd % 64 & 1;
}

bool descriptor_is_stream(int fd)
{
    return descriptor_note(fd) & SOCKET_STREAM ||
           (descriptor_kind(fd) == SOCKET_UNKNOWN && is_unseen_stream(fd));
}

void descriptor_made_early(int fd)
{
    if ((unsigned)fd < UNSEEN_STREAMS)
        __atomic_fetch_and(&unseen_streams[fd / 64], ~(UINT64_C(1) << fd % 64), __ATOMIC_RELAXED);
}

void descriptor_note_unseen(int fd)
{
    if (is_unseen_stream(fd))
        descriptor_note_with(fd, SOCKET_STREAM);
    if ((unsigned)fd < __atomic_load_n(&early_end, __ATOMIC_ACQUIRE))
        note_copied(fd);
}

struct descriptor *descriptor_adopt(int fd, uint64_t cookie, const struct guard *guard,
                                    struct host_handle host, const char *target)
{
    if ((unsigned)fd >= descriptor_limit)
        return NULL;
    if (descriptor_of(fd))
        descriptor_drop(fd, NULL);
    struct descriptor *entry = pool_take();
    if (!entry)
        return NULL;
    atomic_store_explicit(&entry->state, 0, memory_order_relaxed);
    atomic_store_explicit(&entry->pending, 0, memory_order_relaxed);
    atomic_store_explicit(&entry->degraded, 0, memory_order_relaxed);
    atomic_store_explicit(&entry->holds_place, 0, memory_order_relaxed);
    entry->cookie = cookie;
    __atomic_store_n(&entry->guard, guard, __ATOMIC_RELAXED);
    entry->host = host;
    entry->own_recv_ns = entry->own_send_ns = 0;
    entry->due_recv_error = entry->due_send_error = 0;
    size_t length = strnlen(target, sizeof entry->target.text - 1);
    memcpy(entry->target.text, target, length);
    entry->target.text[length] = '\0';
    atomic_store_explicit(&entry->references, 1, memory_order_release);
    put(fd, entry);
    return entry;
}

void descriptor_share(int fd, int copy)
{
    if (fd == copy)
        return;
    struct descriptor *entry = descriptor_of(fd);
    /* What the program changes through one number the other does not see. */
    descriptor_note_without(fd, SOCKET_FRESH | SOCKET_UNBLOCKED);
    descriptor_note_kind(copy, descriptor_note(fd));
    if (descriptor_kind(fd) != SOCKET_UNKNOWN) {
        note_copied(fd);
        note_copied(copy);
    }
    descriptor_drop(copy, NULL);
    if (!entry || (unsigned)copy >= descriptor_limit)
        return;
    /* Another thread may be closing the last number: what is back in the pool must not be taken out of it again. */
    uint32_t references = atomic_load_explicit(&entry->references, memory_order_relaxed);
    do {
        if (references == 0)
            return;
    } while (!atomic_compare_exchange_weak_explicit(&entry->references, &references, references + 1,
                                                    memory_order_acq_rel, memory_order_relaxed));
    put(copy, entry);
}

void descriptor_drop(int fd, struct descriptor *last)
{
    if (last)
        last->guard = NULL;
    if ((unsigned)fd >= descriptor_limit)
        return;
    void *there = __atomic_load_n(&descriptor_table[fd], __ATOMIC_ACQUIRE);
    while (there && !own_replace_pointer((void **)&descriptor_table[fd], &there, NULL))
        ;
    struct descriptor *entry = there;
    if (!entry || !is_last_reference(entry))
        return;
    if (last)
        memcpy(last, entry, sizeof *last);
    flow_detach(entry); /* while it is ours: what is back in the pool may be given a flow at once */
    pool_give(entry);
}

static bool is_last_reference(struct descriptor *entry)
{
    uint32_t references = atomic_load_explicit(&entry->references, memory_order_relaxed);
    while (!own_replace_32(&entry->references, &references, references - 1))
        ;
    return references == 1;
}

struct target_name descriptor_target(const struct descriptor *entry)
{
    char whole[sizeof entry->host.host->target];
    struct target_name name;
    struct text text = text_begin(name.text, sizeof name.text);
    size_t known = strnlen(entry->target.text, sizeof entry->target.text);
    const struct host *host = __atomic_load_n(&entry->host.host, __ATOMIC_RELAXED);
    if (known == sizeof entry->target.text - 1 && host) {
        memcpy(whole, host->target, sizeof whole);
        whole[sizeof whole - 1] = '\0';
        if (strncmp(whole, entry->target.text, known) == 0) { /* else the place has become another host's */
            const char *port = strrchr(whole, ':');
            int length = port ? (int)(port - whole) : (int)strlen(whole);
            if (strlen(whole) >= sizeof name.text && length > (int)sizeof name.text - 8)
                length = sizeof name.text - 8;
            text_add(&text, "%.*s%s", length, whole, port ? port : "");
            return name;
        }
    }
    text_add(&text, "%.*s", (int)known, entry->target.text);
    return name;
}

int descriptor_next(unsigned fd, unsigned last)
{
    unsigned end = __atomic_load_n(&descriptor_guarded_end, __ATOMIC_ACQUIRE);
    for (; fd < end && fd <= last; fd++)
        if (__atomic_load_n(&descriptor_table[fd], __ATOMIC_RELAXED))
            return (int)fd;
    return -1;
}

int descriptor_next_of(const struct descriptor *entry, unsigned fd)
{
    unsigned end = __atomic_load_n(&descriptor_guarded_end, __ATOMIC_ACQUIRE);
    for (; fd < end; fd++)
        if (__atomic_load_n(&descriptor_table[fd], __ATOMIC_RELAXED) == entry)
            return (int)fd;
    return -1;
}

const struct guard *guard_of(const struct policy *policy)
{
    struct guard wanted;
    fill(&wanted, policy);
    wanted.recv_ns = policy->timeout.recv_ns;
    wanted.send_ns = policy->timeout.send_ns;
    wanted.response_ns = policy->timeout.response_ns;
    wanted.is_simple = wanted.has_exchanges && !wanted.rejects_exchanges && !wanted.failure_prefixes.count;
    return shared(&wanted);
}

const struct guard *guard_of_rule(const struct rule *rule)
{
    const struct guard *guard = __atomic_load_n(&rule->guard, __ATOMIC_ACQUIRE);
    if (!guard) {
        guard = guard_of(&rule->policy);
        __atomic_store_n((const struct guard **)&rule->guard, guard, __ATOMIC_RELEASE);
    }
    return guard;
}

const struct guard *guard_of_shadow(const struct policy *policy)
{
    struct guard wanted;
    fill(&wanted, policy);
    wanted.is_shadow = true;
    wanted.would.recv_ns = policy->timeout.recv_ns;
    wanted.would.send_ns = policy->timeout.send_ns;
    wanted.would.response_ns = policy->timeout.response_ns;
    return shared(&wanted);
}

static void fill(struct guard *values, const struct policy *policy)
{
    memset(values, 0, sizeof *values); /* the hash covers the padding */
    values->has_exchanges = policy->timeout.response_ns != 0;
    values->has_breaker = policy->breaker.is_on;
    if (!values->has_breaker)
        return;
    values->breaker = policy->breaker.params;
    values->breaker_error = policy->breaker.error;
    values->has_ladder = policy->ladder != NULL;
    values->rejects_exchanges = values->has_exchanges && policy->breaker.scope == SCOPE_EXCHANGE;
    values->failure_prefixes = policy->breaker.failure_prefixes;
}

static const struct guard *shared(struct guard *wanted)
{
    wanted->hash = hash_bytes(wanted, sizeof *wanted, 0) | 1;
    for (unsigned i = 0; i < GUARDS_MAX; i++) {
        const struct guard **place = &guards[(wanted->hash + i) % GUARDS_MAX];
        const struct guard *found = __atomic_load_n(place, __ATOMIC_ACQUIRE);
        if (!found) {
            struct guard *copy = map_zeroed(sizeof *copy);
            if (!copy)
                return NULL;
            *copy = *wanted;
            if (__atomic_compare_exchange_n(place, &found, copy, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
                return copy;
            munmap(copy, sizeof *copy);
        }
        if (found->hash == wanted->hash)
            return found;
    }
    return NULL;
}

static void raise_end(unsigned *end, int fd)
{
    unsigned now = __atomic_load_n(end, __ATOMIC_RELAXED);
    while (now <= (unsigned)fd && !__atomic_compare_exchange_n(end, &now, (unsigned)fd + 1, true,
                                                               __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
}

static void put(int fd, struct descriptor *entry)
{
    raise_end(&descriptor_guarded_end, fd);
    __atomic_store_n(&descriptor_table[fd], entry, __ATOMIC_RELEASE);
}
