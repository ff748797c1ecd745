/* What is remembered of a descriptor that a rule applies to.
 *
 * A table of pointers by number: the unguarded path is one load and one branch. It is a table of hints: fclose, raw
 * system calls and vfork children change descriptors behind our back, so an entry is verified by its socket's cookie
 * before policy acts on it. Duplicated numbers share one entry. Entries come from a pool (pool.h): a pointer that another
 * thread still holds stays readable, but what it leads to may have become another connection, or zeros. */
#ifndef STATE_DESCRIPTORS_H
#define STATE_DESCRIPTORS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hidden.h"
#include "policy/breaker.h"
#include "policy/prefix.h"
#include "state/breakers.h"

/* The values of a rule that outlive the rule set: a small copy, shared by all descriptors under the same rule and kept
 * for ever. */
struct guard {
    uint64_t recv_ns, send_ns, response_ns; /* 0 = none */
    bool has_breaker;
    bool has_exchanges;     /* whether an answer comes counts for the breaker */
    bool rejects_exchanges; /* an open circuit fails the next request on a connection that is there */
    bool has_ladder;        /* calls that an open circuit rejects may be served otherwise */
    bool is_simple;         /* exchanges count, and nothing is asked or judged of each one: drive/quick.h */
    bool is_shadow;         /* decided and recorded, not carried out: there are no timeouts then */
    struct {
        uint64_t recv_ns, send_ns, response_ns;
    } would; /* in shadow: what they would be */
    struct breaker_params breaker;
    struct failure_prefixes failure_prefixes; /* of answers; none without a breaker */
    int breaker_error;
    uint64_t hash;
};

/* Bits of descriptor.state. The first two are never set together, and only where exchanges count. */
#define IDLE            1u  /* nothing was sent since the last answer began */
#define AWAITING_ANSWER 2u  /* something was sent, and no byte has come back since */
#define FIRST_EXCHANGE  4u  /* no answer has ever come on this connection */
#define HOLDS_TICKET    8u  /* the breaker has not yet been told what became of the connect call */
#define NON_BLOCKING    16u /* the program made it so after the connect */
#define SEND_ERROR_DUE  32u /* the next send gets `due_send_error` */
#define RECV_ERROR_DUE  64u /* the next receive gets `due_recv_error` */
#define ANSWER_OVERDUE                                                                                       \
    128u /* the response timeout has passed and been counted; the answer is still awaited */
#define HANDED_OVER       256u  /* our options are off: stdio uses the socket, or another program */
#define FAULTY            512u  /* faults may happen to it: state/faults.h */
#define JUDGING           1024u /* an answer has begun, and may yet turn out to be a failure: with IDLE */
#define MESSAGES          2048u /* a call moves a message: a short one is not a part of it */
#define CONNECTIONLESS    4096u /* 0 bytes are not the end, and what was refused was no connection gone stale */
#define CONNECT_ERROR_DUE (1u << 13) /* the connect has failed; whoever asks first gets `due_recv_error` */
#define CUT_OFF           (1u << 14) /* by a deadline in an event loop: the end of the file; or it is a stand-in */
#define OPTIONS_LATER     (1u << 15) /* what timeouts the program has set is not known: it does not block */
#define PREFIX_SHIFT      16 /* from here on, 13 bits: the state of that judgement (policy/prefix.h) */
#define PREFIX_MASK       (0x1fffu << PREFIX_SHIFT)
#define SECOND_EXCHANGE                                                                                      \
    (1u << PREFIX_SHIFT) /* without JUDGING: the first answer has come, and nothing was sent since */
#define OPENING         (2u << PREFIX_SHIFT) /* without JUDGING: what comes may be no answer yet: drive/handshake.h */
#define CONNECTING      (1u << 29)           /* not connected yet: drive/readiness.h */
#define INHERITED       (1u << 30)           /* they are another process's, and end no wait here */
#define WAITS_ARE_TIMED INHERITED /* under a guard in shadow, which has no timeouts that could be another's */
#define TIMED           (1u << 31) /* a wait is to end when no answer, or no room, comes in time: drive/deadline.h */

struct descriptor {
    _Atomic uint32_t references; /* descriptor numbers that lead here; 0: in the pool */
    _Atomic uint32_t state;
    uint64_t cookie;           /* SO_COOKIE when it was adopted */
    const struct guard *guard; /* to be asked for with descriptor_guard */
    _Atomic uint32_t pending;  /* its slot + 1 in state/pending.h; 0 = none */
    _Atomic uint32_t sent_us;  /* when the request was sent whose answer is awaited, in us; 0 = not known */
    struct host_handle host;
    struct {
        char text[24]; /* the beginning of it: descriptor_target */
    } target;
    struct breaker_ticket ticket; /* valid while HOLDS_TICKET */
    int32_t owner;                /* the process that made the connection: its fork children have copies */
    int16_t due_send_error, due_recv_error;
    uint32_t number;                   /* the pool's */
    _Atomic uint32_t holds_place;      /* 1: among the connections that its target may have */
    _Atomic uint32_t degraded;         /* its record + 1 in state/degraded.h; 0: it is what was asked for */
    uint64_t own_recv_ns, own_send_ns; /* the program's own SO_RCVTIMEO and SO_SNDTIMEO; 0 = none */
};
_Static_assert(sizeof(struct descriptor) <= 112,
               "a tracked connection costs at most 128 bytes, with its place in the table");

extern const struct guard guard_of_nothing HIDDEN;
extern struct descriptor **descriptor_table HIDDEN;
extern unsigned descriptor_limit HIDDEN; /* 0 until a rule set is loaded */
/* No number from here on was ever guarded: spares walks through the whole table. */
extern unsigned descriptor_guarded_end HIDDEN;

/* The entry of a descriptor; NULL for one that no rule applies to. Plain loads, which the compiler may fold into its
 * comparisons: both variables are set once, the table first. */
static inline struct descriptor *descriptor_of(int fd)
{
    return (unsigned)fd < descriptor_limit ? descriptor_table[(unsigned)fd] : NULL;
}

/* Its guard; one that has none, where another thread has closed the descriptor meanwhile. */
static inline const struct guard *descriptor_guard(const struct descriptor *entry)
{
    const struct guard *guard = __atomic_load_n(&entry->guard, __ATOMIC_RELAXED);
    return guard ? guard : &guard_of_nothing;
}

/* The target, for events: cut as it is in those of the connect. */
struct target_name {
    char text[52];
};
struct target_name descriptor_target(const struct descriptor *entry);

/* What a number leads to, as far as we saw: a hint that saves system calls. */
enum socket_kind {
    SOCKET_UNKNOWN,
    SOCKET_OTHER,
    SOCKET_TCP,
    SOCKET_UDP,
    SOCKET_UNIX,
    SOCKET_UNIX_DATAGRAM,
    SOCKET_UNIX_SEQPACKET,
    NO_SOCKET_BUT_EPOLL, /* one that something was taken out of: drive/withhold.h */
};
/* A note is one of these and bits beside it. */
#define SOCKET_KIND      7u
#define SOCKET_FRESH     8u      /* blocking, and without timeouts of the program's */
#define SOCKET_SHUT      16u     /* the program has shut it down since it began to connect */
#define SOCKET_COPIED    32u     /* there were copies of it before it was guarded */
#define SOCKET_FASTOPEN  64u     /* it would connect with its first send (TCP_FASTOPEN_CONNECT) */
#define SOCKET_UNBLOCKED 128u    /* the program has made it not to block, and there are no copies of it */
#define SOCKET_STREAM    256u    /* stdio reads and writes it */
#define SOCKET_BEGUN     0xfe00u /* 0, or it has begun to connect: tells that time from others */

extern uint16_t *descriptor_notes HIDDEN; /* there once descriptor_limit is not 0 */
static inline unsigned descriptor_note(int fd)
{
    return (unsigned)fd < descriptor_limit
               ? __atomic_load_n(&descriptor_notes[(unsigned)fd], __ATOMIC_RELAXED)
               : SOCKET_UNKNOWN;
}
void descriptor_note_kind(int fd, unsigned note);
void descriptor_note_with(int fd, unsigned bits);
void descriptor_note_without(int fd, unsigned bits);
void descriptor_note_unblocked(int fd);
void descriptor_note_shut(int fd);

/* A stream is made of it, by this number. descriptor_made_early: a socket is made under the number before there is a table. */
void descriptor_note_stream(int fd);
bool descriptor_is_stream(int fd);
void descriptor_made_early(int fd);

/* The descriptor begins to connect. descriptor_is_still: it is that connect's, as far as we saw; a number that another
 * thread has closed, or that has been used again, is not. */
unsigned descriptor_note_begun(int fd);
bool descriptor_is_still(int fd, unsigned note);

static inline enum socket_kind descriptor_kind(int fd)
{
    return (enum socket_kind)(descriptor_note(fd) & SOCKET_KIND);
}

/* Sockets of which there were copies before they were guarded. descriptor_next_copied: the next number at or after `fd`
 * that may be one, -1 when there is none. What was copied before the table existed is known by its number only:
 * descriptor_note_unseen says that the socket was made then. */
bool descriptor_is_copied(int fd);
int descriptor_next_copied(unsigned fd);
void descriptor_copied_early(int fd, int copy);
void descriptor_note_unseen(int fd);

/* Makes room for the table. Called once rules are in force; false without memory. */
bool descriptors_open(void);

/* Starts guarding `fd`: NULL without memory, or for a number beyond the table. Whatever was there is dropped. */
struct descriptor *descriptor_adopt(int fd, uint64_t cookie, const struct guard *guard,
                                    struct host_handle host, const char *target);

/* `copy` is another number for what `fd` leads to; whatever was at `copy` is dropped. */
void descriptor_share(int fd, int copy);

/* Forgets the number. The last one to go gives the entry back; `last`, if not NULL, gets a copy of it then (with
 * references 0; else its guard is NULL), for the caller to settle what is open. */
void descriptor_drop(int fd, struct descriptor *last);

/* All numbers from `first` to `last` that are guarded, in turn: the next one at or after `fd`, -1 when there is none. */
int descriptor_next(unsigned fd, unsigned last);

/* The first number at or after `fd` that leads to the entry; -1: none. */
int descriptor_next_of(const struct descriptor *entry, unsigned fd);

/* In shadow: is it to be seen how long its waits take? */
static inline bool guard_times_waits(const struct guard *guard)
{
    return guard->would.recv_ns || guard->would.send_ns || guard->would.response_ns;
}

/* The shared copy of these values, made if need be; NULL without memory. In shadow: of what is only recorded. */
const struct guard *guard_of(const struct policy *policy);
const struct guard *guard_of_rule(const struct rule *rule);
const struct guard *guard_of_shadow(const struct policy *policy);

#endif
