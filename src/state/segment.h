/* What the processes of a user that run the same rules share: breakers, counters, a flight recorder.
 *
 * One file, mapped by all of them and never trusted: whatever it holds, readers stay within it and writers change
 * single aligned words. It is created aside, fully allocated, and renamed into place; a process killed at any moment
 * leaves it usable. Where it cannot be had the same structure in private memory takes its place. */
#ifndef STATE_SEGMENT_H
#define STATE_SEGMENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hidden.h"
#include "policy/latency.h"
#include "policy/window.h"
#include "report/event.h"

#define SEGMENT_MAGIC  0x6c69736572626c31ull
#define SEGMENT_LAYOUT 11u /* changes with any of the structures here */
#define HOSTS_MAX      1024u
#define HOST_REACH     32u /* a host is within this many places of where its key points */
#define RECORDER_SLOTS 4096u

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "words in shared memory must be lock-free");

/* What is counted for each host. COUNT(NAME, "name", help) */
#define HOST_COUNTS(COUNT)                                                                                   \
    COUNT(CALLS, "calls", "connect calls under a rule")                                                      \
    COUNT(CONNECTED, "connected", "connect calls that succeeded")                                            \
    COUNT(FAILED, "failed", "connect calls that failed for good")                                            \
    COUNT(RETRIES, "retries", "attempts after the first, each after a wait")                                 \
    COUNT(SIBLINGS, "siblings", "attempts at another address of the name, at once")                          \
    COUNT(SINGLES, "single_attempts", "calls that others had already retried for")                           \
    COUNT(REJECTED, "rejected", "calls that an open circuit failed at once")                                 \
    COUNT(LIMITED, "limited", "connect calls that a limit turned away")                                      \
    COUNT(WAITED, "waited", "connect calls that waited for their turn")                                      \
    COUNT(TIMEOUTS, "timeouts", "attempts and waits that were cut short")                                    \
    COUNT(ANSWERED, "answered", "exchanges whose answer began in time")                                      \
    COUNT(UNANSWERED, "unanswered", "exchanges without an answer in time")                                   \
    COUNT(FAILURE_ANSWERS, "failure_answers", "answers that began with a failure prefix")                    \
    COUNT(OPENINGS, "openings", "times the circuit opened")                                                  \
    COUNT(PROBES, "probes", "calls let through half-open")                                                   \
    COUNT(SHADOWED, "shadowed", "decisions that were recorded and not carried out")                          \
    COUNT(WOULD_REJECT, "would_reject", "of these: an open circuit would have failed the call at once")      \
    COUNT(WOULD_LIMIT, "would_limit", "of these: a limit would have turned the call away")                   \
    COUNT(WOULD_CUT, "would_cut",                                                                            \
          "of these: a connect attempt, or a wait for data, room or an answer, would have been cut short")   \
    COUNT(WOULD_RETRY, "would_retry", "of these: an attempt would have been followed by another one")        \
    COUNT(LOOKUPS_FAILED, "lookups_failed", "lookups that failed for good")                                  \
    COUNT(DEGRADED, "degraded", "calls that a lower rung of the ladder served")                              \
    COUNT(UNSERVED, "unserved", "calls that no rung of the ladder could serve")
enum host_count {
#define COUNT(name, text, help) HOST_##name,
    HOST_COUNTS(COUNT)
#undef COUNT
        HOST_COUNT_KINDS
};

/* What a person has said about a circuit. Any other value, which only damage could have written, is STEERING_AUTO. */
enum steering {
    STEERING_AUTO,   /* outcomes decide */
    STEERING_OPEN,   /* every call is rejected */
    STEERING_CLOSED, /* every call is admitted */
};

/* What is timed for each host. LATENCY(NAME, "name", help) */
#define LATENCIES(LATENCY)                                                                                   \
    LATENCY(CONNECT, "connect", "connect calls that succeeded, with their retries and waits")                \
    LATENCY(FIRST_BYTE, "first_byte", "from a request to the first byte of its answer, under `response`")
enum latency_kind {
#define LATENCY(name, text, help) LATENCY_##name,
    LATENCIES(LATENCY)
#undef LATENCY
        LATENCY_KINDS
};
struct latency_words {
    _Atomic uint64_t counts[LATENCY_BUCKETS];
    _Atomic uint64_t sum_ns;
};

/* What happens too often to be told each time. */
enum sample_kind {
    SAMPLE_REJECTED,
    SAMPLE_CONNECTIONS,
    SAMPLE_RATE,
    SAMPLE_WAIT,
    SAMPLE_DEGRADED,
    SAMPLE_SKIPPED,
    SAMPLE_FUNCTION,
    SAMPLE_KINDS
};

/* One target under one rule. All words change atomically; the texts are written once, by whoever claims the place, and
 * read with a bound. */
struct host {
    _Atomic uint64_t key;                      /* 0: free */
    _Atomic uint64_t breaker;                  /* a breaker word (policy/breaker.h) */
    _Atomic uint64_t failures[WINDOW_BUCKETS]; /* calls and failed calls */
    _Atomic uint64_t retries[WINDOW_BUCKETS];  /* calls and retries */
    _Atomic uint64_t used_ns;                  /* the last call */
    _Atomic uint64_t counts[HOST_COUNT_KINDS];
    struct latency_words latencies[LATENCY_KINDS];
    _Atomic uint64_t spared_ns; /* that calls in shadow waited, and would not have if rules were enforced */
    _Atomic uint64_t failed_addresses;   /* marks of policy/addresses.h */
    _Atomic uint64_t told[SAMPLE_KINDS]; /* which of them are told (policy/sample.h) */
    _Atomic uint64_t probe_holder;       /* generation << 32 | process id of the last probe's */
    _Atomic uint64_t served;             /* by which rung, and when: state/served.h */
    _Atomic uint64_t stays_until_ns;     /* so long new connections stay with a fallback host */
    _Atomic uint32_t steering;           /* enum steering */
    char target[72];                     /* "payments.internal:443" */
    char rule[64];
};

struct recorder_slot {
    /* 0: never used; 2n+1: event n is being written; 2n+2: event n is here. */
    _Atomic uint64_t sequence;
    struct event event;
};
_Static_assert(sizeof(struct recorder_slot) == 176, "4096 of them are 704 KiB");

/* One fault of the rule file, by its name. Texts are written once, by whoever claims the place. */
#define FAULT_SLOTS 64u
#define FAULT_SITES 16u
struct fault_slot {
    _Atomic uint64_t key;      /* hash of the name; 0: free */
    _Atomic uint64_t steering; /* state/faults.h */
    _Atomic uint64_t fired;
    _Atomic uint64_t would_fire; /* in programs with RESIL_FAULTS=shadow */
    _Atomic uint64_t more_sites; /* that there was no room for */
    char name[64];
    struct fault_site {
        _Atomic uint64_t key;   /* 0: free */
        _Atomic uint64_t fired; /* from there */
        char text[64];          /* "libpq.so.5+0x1a2b3 (PQconnectPoll)" */
    } sites[FAULT_SITES];
};

/* The last good answer of a lookup (state/kept_names.h). */
#define KEPT_NAMES_MAX  256u
#define KEPT_NAME_BYTES 128u /* with its zero; longer names are not kept */
struct kept_answer {
    uint64_t answered_ns; /* CLOCK_BOOTTIME */
    uint32_t family;      /* that was asked for: enum kept_family */
    uint32_t count;
    uint8_t addresses[8][16];
    char name[KEPT_NAME_BYTES];
};
struct kept_name {
    _Atomic uint64_t mark;         /* of the name; 0: free */
    _Atomic uint64_t writer;       /* since when somebody has been writing; 0: nobody is */
    _Atomic uint64_t failed_ns;    /* when the last real lookup failed; 0: it did not */
    struct kept_version {          /* the last one, and the one that is being written or was before */
        _Atomic uint64_t checksum; /* of the answer: any other means that there is none */
        struct kept_answer answer;
    } versions[2];
};

struct segment {
    struct {
        uint64_t magic;
        uint32_t layout;
        uint32_t size_bytes;
        char boot_id[40];
        uint64_t pid_namespace, time_namespace;
        char rules[512]; /* the rule file's canonical path */
    } header;
    _Atomic uint64_t events[EVENT_KINDS];         /* how often each kind happened */
    _Atomic uint64_t passed[PASSED_REASON_COUNT]; /* why calls passed through */
    _Atomic uint64_t told_session;                /* what was told last of the rules, and which session */
    _Atomic uint64_t told_settings;               /* ... and that its RESIL_ variables are */
    _Atomic uint64_t recorded;                    /* events ever recorded: the next one's number */
    struct recorder_slot recorder[RECORDER_SLOTS];
    struct host hosts[HOSTS_MAX];
    struct kept_name names[KEPT_NAMES_MAX];
    _Atomic uint64_t faults_steered; /* how often somebody has switched one by hand */
    struct fault_slot faults[FAULT_SLOTS];
};

/* The segment of this process; NULL until segment_open. From then on it stays where it is. */
extern struct segment *_Atomic segment_current HIDDEN;

/* Makes segment_current: shared for the rule file with that canonical path, which has to stay where it is, else private
 * (which is counted). False: not even memory. `is_shared`, if not NULL, says which. */
bool segment_open(const char *rules_path, bool *is_shared);

/* Maps the file ahead of segment_open, which may not reach it any more, if it is there and seems to be the right one. */
bool segment_prepare(const char *rules_path);

/* Looks, once a second at most, whether the file is still the one that is mapped: one that was unlinked, replaced, cut
 * short or overwritten is opened anew, in the same place. Async-signal-safe. */
void segment_look_again(uint64_t now_ns);

/* For tools: maps an existing segment file, or NULL with errno set. `is_writable` maps it for changes. */
struct segment *segment_map(const char *path, bool is_writable);
void segment_unmap(struct segment *segment);

/* Where segments live: RESIL_STATE_DIR, else /dev/shm/resil-UID. */
void segment_directory(char *path, size_t capacity);
/* The file name (no directory) for a rule file's canonical path, as seen from this process: containers that share
 * the directory have segments of their own. */
void segment_file_name(const char *rules_path, char *name, size_t capacity);

/* What was counted before there was a segment; segment_open adds it. */
extern _Atomic uint64_t segment_passed_before[PASSED_REASON_COUNT] HIDDEN;

static inline void segment_passed(enum passed_reason reason)
{
    _Atomic uint64_t *counts = segment_current ? segment_current->passed : segment_passed_before;
    atomic_fetch_add_explicit(&counts[reason], 1, memory_order_relaxed);
}

#endif
