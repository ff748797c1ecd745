/* Faults: what goes wrong on purpose, and when.
 *
 * Pure: whether a fault fires is a function of the seed, the fault, the process, the target, the how-manieth connection to
 * it and the how-manieth operation on that, so that the same calls meet the same faults, whoever carries them out.
 *
 * A driver asks for each operation on a connection, fault by fault in the order of the file:
 *
 *     struct fault_plan plan = fault_plan_begin(now);
 *     if (fault_fires(params, &moment)) fault_plan_add(&plan, params, number, &moment, &memory)
 *
 * The plan says how the operation ends, and fault_plan_due_ns from when on it may be shown (readiness) or made (a call that
 * blocks). Where there is a rate, how many bytes there are now and when there will be more is said by the bucket of that
 * fault, connection and direction. */
#ifndef POLICY_FAULT_H
#define POLICY_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/random.h"

#define FAULTS_MAX      64u        /* in a rule set: they fit a mask */
#define FAULT_NEVER     UINT64_MAX /* a time that does not come */
#define FAULT_DEPTH_MAX 8u         /* datagrams that overtake one */

/* What a fault may happen to. A fault names a set of them: a mask of FAULT_ON. */
enum fault_operation {
    FAULT_CONNECT,
    FAULT_SEND,
    FAULT_RECV,
    FAULT_RESOLVE,
    FAULT_ACCEPT,
    FAULT_SOCKET,
    FAULT_OPERATIONS,
};
#define FAULT_ON(operation) (1u << (operation))

enum fault_kind {
    FAULT_ERROR,      /* the call fails at once */
    FAULT_LATENCY,    /* it takes longer */
    FAULT_TIMEOUT,    /* it is never answered */
    FAULT_RESET,      /* the connection is broken off */
    FAULT_BANDWIDTH,  /* no more than so many bytes a second */
    FAULT_SLICE,      /* few bytes at a time */
    FAULT_LIMIT_DATA, /* the connection ends after so many bytes */
    FAULT_SLOW_CLOSE, /* its end comes late */
    FAULT_CORRUPT,    /* bytes have a bit flipped */
    FAULT_LOSS,       /* a datagram is lost */
    FAULT_DUPLICATE,  /* it comes twice */
    FAULT_INTERRUPT,  /* as by a signal */
    FAULT_EXHAUST,    /* no descriptor is left */
    FAULT_ADDRESS,    /* a lookup gives another address */
    FAULT_REORDER,    /* later datagrams come before it */
    FAULT_KINDS,
};

/* What is drawn for: each call, each exchange (the first receive after something was sent), each connection, or the
 * process as a whole. `nth`, `every`, `after` and `times` count the same. */
enum fault_per { FAULT_PER_CALL, FAULT_PER_EXCHANGE, FAULT_PER_CONNECTION, FAULT_PER_PROCESS };

enum fault_distribution { FAULT_UNIFORM, FAULT_NORMAL, FAULT_PARETO };

struct fault_params {
    uint64_t identity; /* hash of its name */
    uint64_t seed;     /* instead of the run's, if has_seed */
    bool has_seed;
    enum fault_kind kind;
    enum fault_per per;
    uint32_t operations; /* mask of FAULT_ON */
    uint32_t probability_ppm;
    uint32_t nth, every, after, times; /* 0 = not asked for */
    bool has_counts;                   /* one of these is */
    bool has_schedule;                 /* something of this: */
    struct {
        uint64_t start_ns;                 /* not before */
        uint64_t ramp_ns;                  /* the probability grows from 0 in that time */
        uint64_t flap_on_ns, flap_off_ns;  /* on and off in turn */
        uint64_t burst_ns, burst_every_ns; /* so long, somewhere in each such time */
        uint64_t expires_ns;               /* not after; 0 = never */
    } schedule;
    int error; /* errno, or EAI_... for lookups */
    struct {
        uint64_t delay_ns, jitter_ns;
        enum fault_distribution distribution;
        uint32_t correlation_ppm; /* the delay is that of the operation before, in this share of the cases */
    } latency;
    struct {
        uint64_t after_bytes, after_ns;
    } reset;
    struct {
        uint64_t bytes_per_s, burst_bytes;
    } bandwidth;
    struct {
        uint64_t size, variation; /* bytes */
        uint64_t gap_ns;          /* between two of them */
    } slice;
    uint64_t limit_bytes;    /* limit_data */
    uint64_t close_delay_ns; /* slow_close */
    uint32_t ratio_ppm;      /* of bytes (corrupt) or datagrams (loss, duplicate, reorder) */
    struct {
        uint64_t hold_ns;
        uint32_t depth; /* so many overtake it at most */
    } reorder;
    /* Losses in bursts, after Gilbert and Elliott: a datagram finds the way good or bad, and leaves it so or not. */
    struct {
        uint32_t enter_ppm, leave_ppm, ratio_ppm; /* enter_ppm 0: it is always good */
    } burst;
    uint8_t address[16]; /* v4-mapped where it is IPv4 */
};

/* When and where it might happen. */
struct fault_moment {
    uint64_t key;        /* fault_key: of the fault and the connection */
    uint64_t number;     /* of the operation, from 0: what `per` says */
    uint64_t ordinal;    /* how often in this process it might have fired before */
    uint64_t running_ns; /* for how long it has been armed; read only where there is a schedule */
};

/* What of a fault is remembered from one operation of a connection to the next. Zeroed it remembers nothing. */
struct fault_memory {
    uint64_t drawn; /* for correlation */
    bool has_drawn;
    bool is_bad; /* the way of datagrams */
};

/* Everything that a decision depends on but the operation's number. `connection` is the how-manieth to the target. */
uint64_t fault_key(const struct fault_params *params, uint64_t seed, uint64_t process, uint64_t target,
                   uint64_t connection);

/* Does it, unless its `times` are used up? The caller counts those. */
bool fault_fires(const struct fault_params *params, const struct fault_moment *moment);

/* For how many operations from `number` on, `most` at most, a fault that only has a probability does not fire. */
uint32_t fault_quiet(const struct fault_params *params, uint64_t key, uint64_t number, uint32_t most);

/* Is it on at all, so long after it was armed? */
bool fault_is_on(const struct fault_params *params, uint64_t running_ns);

/* How long a latency is this time. */
uint64_t fault_delay_ns(const struct fault_params *params, const struct fault_moment *moment,
                        struct fault_memory *memory);

/* How many bytes a slice has this time. */
uint64_t fault_slice_bytes(const struct fault_params *params, const struct fault_moment *moment);

/* Does it happen to this datagram? One more of them. */
bool fault_takes_datagram(const struct fault_params *params, const struct fault_moment *moment,
                          struct fault_memory *memory);

/* Flips bits in what stands at `offset` of a stream; the same bytes in the same place, however it is cut. How many. */
size_t fault_corrupt(const struct fault_params *params, uint64_t key, uint64_t offset, uint8_t *bytes,
                     size_t size);

/* What faults make of one operation. */
enum fault_action {
    FAULT_GO,      /* as it is, up to `bytes` */
    FAULT_FAIL,    /* it fails with `error` */
    FAULT_BREAK,   /* the connection is reset, now */
    FAULT_SILENCE, /* nothing ever comes of it */
    FAULT_END,     /* the connection is over, without an error */
    FAULT_DROP,    /* the datagram is lost */
    FAULT_REPLACE, /* the answer is another one: that of fault number `last` */
};
struct fault_plan {
    enum fault_action action;
    int error;
    uint64_t delay_ns; /* from when it could have been on; latencies add up */
    uint64_t begun_ns; /* that time */
    uint64_t fired;    /* mask of the faults, by their number */
    uint32_t last;     /* the last one of them */
    bool is_twice;     /* the datagram comes twice */
    uint32_t depth;    /* so many of those behind it are received before it, if there are any by then */
};

struct fault_plan fault_plan_begin(uint64_t now_ns);

/* One more fault, number `fault`, has fired. Those that come behind one that ends the operation change nothing: false. */
bool fault_plan_add(struct fault_plan *plan, const struct fault_params *params, uint32_t fault,
                    const struct fault_moment *moment, struct fault_memory *memory);

/* When the planned operation may be shown or made: `now_ns` or before = at once; FAULT_NEVER. */
uint64_t fault_plan_due_ns(const struct fault_plan *plan);

/* Token bucket, one word: the time at which it is full again, of one fault on one connection in one direction. 0 = full.
 * Published by compare-and-swap, where several threads share it. */
uint64_t fault_bucket_room(const struct fault_params *params, uint64_t word, uint64_t now_ns);
uint64_t fault_bucket_take(const struct fault_params *params, uint64_t word, uint64_t bytes, uint64_t now_ns);
/* When there is room for so many (or for as many as it holds). */
uint64_t fault_bucket_due_ns(const struct fault_params *params, uint64_t word, uint64_t bytes);

/* A share of the burst that is worth waiting for, so that nothing trickles byte by byte. */
uint64_t fault_bucket_sip(const struct fault_params *params);

#endif
