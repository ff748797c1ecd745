/* What is due without anybody waiting inside a call of ours: attempts to connect of programs that do not block, and
 * answers that they await. Their own waits (poll, select, epoll) carry it out (drive/readiness.h).
 *
 * A table in memory that a fork child gets empty: what its parent has under way is its parent's. A slot belongs to one
 * entry of the descriptor table. Whoever acts on it claims it first, with signals blocked, for a few system calls that
 * do not wait, so that a claim is always given back. Lock-free; a vfork child leaves it alone (process_owns_memory). */
#ifndef STATE_PENDING_H
#define STATE_PENDING_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "base/hidden.h"
#include "policy/budget.h"
#include "policy/call.h"
#include "policy/limit.h"
#include "policy/opening.h"
#include "state/descent.h"
#include "state/descriptors.h"
#include "state/limits.h"
#include "state/registrations.h"
#include "state/siblings.h"

enum pending_phase {
    PENDING_FREE,
    PENDING_FLYING, /* an attempt is in flight */
    PENDING_PARKED, /* between two attempts (drive/park.h) */
    PENDING_FAILED, /* the error has not been read yet */
    PENDING_ANSWER, /* connected: an answer is awaited, or room to send, or readiness is withheld */
};

/* A registration with an epoll that is not as the program made it (drive/withhold.h), and how it differs. */
struct withheld_registration {
    enum {
        AS_IT_IS, /* none */
        OWED,     /* it has reported once, which the program has not seen, and is silent by itself */
        MASKED,   /* it asks for less */
        TAKEN_OUT,
    } how;
    int fd;
    struct registration registration; /* the program's */
};
#define WITHHELD_EPOLLS 2 /* of one descriptor */

struct pending {
    _Alignas(64) _Atomic uint64_t due_ns; /* NEVER: nothing */
    /* Here for the sake of who sends: what he looks at lies together. */
    _Atomic uint64_t answer_due_ns, room_due_ns; /* NEVER: not awaited */
    _Atomic uint32_t claim;                      /* 1: somebody acts on it */
    _Atomic uint32_t
        nudged;      /* a bit for each registration that asks for more than the program did (drive/nudge.h) */
    uint32_t number; /* its own */
    _Atomic uint32_t next; /* in the list of free slots: the next one + 1 */
    /* The rest belongs to whoever has claimed the slot. */
    _Atomic enum pending_phase phase;
    struct descriptor *_Atomic entry;
    _Atomic int fd;            /* one of the numbers that lead to the entry */
    int saved_hops;            /* PARKED: the program's minimum of hops */
    int saved_user_timeout_ms; /* FLYING: the program's TCP_USER_TIMEOUT; -1: it is as the program made it */
    /* FLYING and PARKED */
    struct call call;
    struct budget_params budget;
    union {
        struct siblings siblings;
        struct {
            unsigned counts[2]; /* of siblings: a path has none */
            struct sockaddr_un address;
        } path;
    };
    struct siblings_marks marks;
    unsigned siblings_tried; /* the first so many of them */
    uint64_t seed;
    uint64_t began_ns;        /* this attempt */
    uint64_t connects_before; /* how many had succeeded at the host when the call began */
    int breaker_error;        /* what a rejected call gets */
    bool has_breaker, has_retry;
    bool is_unparkable; /* a retry was due, and the descriptor could not be kept silent until then */
    bool is_withheld;   /* PARKED, and not by the kernel: what it shows is withheld */
    bool is_queued; /* FLYING: the queue of a UNIX socket's server is full, and is tried from time to time */
    bool is_shadow; /* learn and tell, change nothing */
    struct {        /* what it would do then */
        uint64_t connect_ns;
        uint32_t max_retries;
    } shadow;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address; /* of a UNIX socket its beginning; all of it is in `path` */
    socklen_t length;
    struct descent descent; /* where it stands on its rule's ladder */
    struct {                /* PARKED: a limit keeps it waiting (drive/turn.h) */
        bool is_waiting;
        bool has_token;   /* it has its place too, and goes ahead at token_ns */
        bool is_for_rate; /* and not for a place */
        struct limit_handle limit;
        struct limit_params params;
        uint64_t token_ns;
        uint64_t counted_ns; /* when the connections were last counted */
        uint64_t longest_ns; /* as limits_correct asks for it */
        int error;           /* of a call beyond the limit */
        char rule[32];       /* its name, cut */
    } turn;
    /* It waits for a place under the limit with that key since then; key 0: it does not. Read without a claim too. */
    _Atomic uint64_t turn_key, turn_begun_ns;
    /* What no wait shows of the descriptor, until then: 0 = it is shown, NEVER = until somebody shows it. Read without a
     * claim too. */
    _Atomic uint64_t withheld_in_ns, withheld_out_ns;
    struct withheld_registration withheld[WITHHELD_EPOLLS];
    unsigned late_events;         /* of registrations that were taken out before these could be seen to */
    _Atomic uint64_t left_due_ns; /* an answer that was due then is left to others: state/left_answers.h */
    _Atomic uint32_t
        is_overdue; /* 1: FAILED, and the kernel shows nothing of it: it is a datagram's answer that did not come */
    /* ANSWER: changed without a claim too, by who sends and receives; with answer_due_ns and room_due_ns */
    _Atomic uint32_t unsent_bytes;  /* when room began to be awaited */
    _Atomic uint32_t asked_bytes;   /* the most that one call has sent of what is to be answered */
    _Atomic uint32_t http2;         /* does it speak it? drive/handshake.c */
    _Atomic uint32_t was_unsent;    /* 1: a part of the request was, at the last look */
    _Atomic uint32_t doubted_us;    /* when something came that may be the first answer, and may not */
    struct opening _Atomic opening; /* what has been said before the first answer */
};

#define PENDING_CHUNK  64u
#define PENDING_CHUNKS 4096u
#define PENDING_LEFT   64u

/* The head of the table. `nearness` is the complement of the time before which nothing is due, so that the zeroes which a
 * fork child finds mean NEVER. */
struct pending_head {
    _Atomic uint64_t nearness;
    _Atomic uint64_t runs;     /* begun:48 | going on:16; while one goes on nearness may be too low */
    _Atomic uint32_t used;     /* slots */
    _Atomic uint32_t connects; /* of these FLYING, PARKED or FAILED: what waits must not show as it is */
    _Atomic uint32_t
        changes; /* of these: how many have begun and ended; and how many nudges were taken back */
    _Atomic uint32_t withheld; /* slots that withhold something */
    _Atomic uint32_t nudges;   /* registrations that are to be put right by who is woken (drive/nudge.h) */
    _Atomic uint32_t turns;    /* slots with a turn_key */
    _Atomic uint32_t overdue;  /* slots that are overdue */
    _Atomic uint32_t
        left_count; /* places in `left` that are taken, or are about to be: state/left_answers.h */
    _Atomic uint64_t free_head;
    _Atomic uint32_t made;
    struct pending *_Atomic chunks[PENDING_CHUNKS]; /* near what is above: who sends looks for his slot */
    _Atomic uint64_t chunk_nearness[PENDING_CHUNKS];
    _Atomic uint64_t left[PENDING_LEFT];
};
extern struct pending_head *_Atomic pending_head HIDDEN; /* never NULL: one without slots at first */

/* Nothing is due before that time, but for what somebody sees to already; NEVER where nothing is due at all. */
uint64_t pending_nearest(uint64_t now_ns);

/* May there be anything for a wait to do? A hint that is never wrong when it says no (PENDING_CALM); pending_calm takes it
 * back. PENDING_BUSY: yes. What is between them: yes, and somebody is about to take it back.
 *
 * It is the timeout in ms from which on a wait is not simply libc's: while all is calm the first one that takes time, else
 * every one. So a wait compares once. */
#define PENDING_CALM 1
#define PENDING_BUSY INT32_MIN
extern int32_t pending_busy HIDDEN; /* written atomically */
static inline int32_t pending_hint(void)
{
#ifdef __SANITIZE_THREAD__
    return __atomic_load_n(&pending_busy, __ATOMIC_RELAXED);
#else
    return pending_busy; /* read and compared by one instruction, which compilers do not make of an atomic load */
#endif
}
static inline bool pending_is_busy(void)
{
    return __builtin_expect(pending_hint() != PENDING_CALM, 0);
}
/* The same for a wait of so many ms (negative: for ever), or it has to end at a time. */
static inline bool pending_concerns(int timeout_ms)
{
    return __builtin_expect(timeout_ms >= pending_hint(), 0);
}
/* There is. Whoever has just made it so. */
void pending_make_busy(void);
/* Would that be of use now? Signals are blocked for it. */
bool pending_can_calm(void);
void pending_calm(void);

/* A slot for the entry, which has none yet, claimed; NULL without memory. Nobody else sees it until it is published: should
 * the call that took it never come back, no more than a slot is lost. */
struct pending *pending_take(struct descriptor *entry);

/* Makes it the entry's. False: another thread was quicker, and the slot is free again. */
bool pending_publish(struct pending *pending, enum pending_phase phase);

/* The entry's slot, claimed; NULL when it has none. Waits for whoever has claimed it. */
struct pending *pending_claim(struct descriptor *entry);

/* The slot with that number; NULL where a fork child has none. */
static inline struct pending *pending_number(uint32_t number)
{
    struct pending *slots =
        number < PENDING_CHUNK * PENDING_CHUNKS
            ? atomic_load_explicit(&pending_head->chunks[number / PENDING_CHUNK], memory_order_acquire)
            : NULL; /* the entry is in its pool, and the number another one's */
    return slots ? &slots[number % PENDING_CHUNK] : NULL;
}

/* The entry's slot, not claimed; NULL when it has none. */
static inline struct pending *pending_of(const struct descriptor *entry)
{
    uint32_t number = atomic_load_explicit(&entry->pending, memory_order_acquire);
    struct pending *pending = number ? pending_number(number - 1) : NULL;
    return pending && atomic_load_explicit(&pending->entry, memory_order_relaxed) == entry ? pending : NULL;
}

/* Gives back a claim on a slot that is due at `due_ns`, or before that where something withheld is to be shown ... */
void pending_release(struct pending *pending, uint64_t due_ns);

/* ... or whenever it was due before ... */
void pending_put_back(struct pending *pending);

/* ... or ends what was pending: the slot is free ... */
void pending_end(struct pending *pending);

/* ... or is kept for the answers that its connection is going to await: in PENDING_ANSWER, due never. */
void pending_keep(struct pending *pending);

/* How many registrations are `nudged` in that? */
static inline unsigned pending_nudges_in(uint32_t nudged)
{
    unsigned count = 0;
    for (; nudged; nudged &= nudged - 1)
        count++;
    return count;
}

/* Is it in one of the phases of a connect? */
static inline bool pending_is_connect(enum pending_phase phase)
{
    return phase == PENDING_FLYING || phase == PENDING_PARKED || phase == PENDING_FAILED;
}

/* What is withheld of a claimed slot's descriptor, until then; 0: nothing. It is due when the slot is given back. */
void pending_withhold(struct pending *pending, uint64_t in_ns, uint64_t out_ns);

/* A claimed slot waits for a place under that limit, or (key 0) does not any more. */
void pending_turn(struct pending *pending, uint64_t key, uint64_t begun_ns);

/* Of those that wait for a place under that limit, the one that has waited longest; NULL: none. */
struct pending *pending_first_turn(uint64_t key);

/* A claimed slot is overdue; until it ends. pending_shows_overdue: may there be any? */
void pending_overdue(struct pending *pending);
static inline bool pending_shows_overdue(void)
{
    return atomic_load_explicit(&pending_head->overdue, memory_order_relaxed);
}

/* Moves a claimed slot from one phase to another. */
void pending_enter(struct pending *pending, enum pending_phase phase);

/* Changes when the entry's slot is due, without claiming it. Another thread may end it meanwhile, and it may be another
 * entry's by now: then nothing comes of it but one look that is not needed. */
void pending_due(struct pending *pending, const struct descriptor *entry, uint64_t due_ns);

/* Will it be looked at by then? Where other threads may be looking at it, with a fence between what was written to it and
 * this: then they see that. */
bool pending_is_due_by(const struct pending *pending, uint64_t due_ns);

/* Calls `act` for each slot that is due, claimed; it releases or ends it. Slots that others have claimed are left to
 * them, and looked at again 1 ms later. */
void pending_run(uint64_t now_ns, void (*act)(struct pending *pending, void *context), void *context);

/* All slots in turn, not claimed: for who looks for one by what is in it. NULL at the end. */
struct pending *pending_each(uint32_t *cursor);

#endif
