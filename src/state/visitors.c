#include "state/visitors.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/hash.h"
#include "state/process.h"

#define PLACES      1024u
#define NO_PLACE    0u
#define IN_THE_YARD (PLACES + 1) /* all places were taken */

struct place {
    uint32_t thread; /* its id; 0: free. Changed atomically */
    uint32_t outer;  /* the place of the call that this thread was in already, or NO_PLACE */
    uintptr_t frame; /* where that thread's stack was; deeper is less */
    const void *reads;
};
static struct place places[PLACES];
static uint32_t places_end; /* none from here on was ever taken */
static uint64_t in_the_yard;

static __thread struct {
    uint32_t innermost; /* place */
    pid_t thread, process;
} own __attribute__((tls_model("initial-exec")));

static uint32_t thread_id(void);
static uint32_t take_place(uint32_t thread, uintptr_t frame);
static void forget_gone(uintptr_t frame);
static bool is_on_alternate_stack(void);
static void release(uint32_t place);
static bool is_gone(uint32_t thread);

/* Not inlined: the frame is compared with those of other calls, which have to be made alike. */
__attribute__((noinline)) const void *visitors_enter(struct visit *visit, const void *const *published)
{
    visit->place = NO_PLACE;
    const void *reads = __atomic_load_n(published, __ATOMIC_ACQUIRE);
    if (!reads)
        return NULL;
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    uint32_t thread = thread_id();
    forget_gone(frame);
    visit->place = take_place(thread, frame);
    if (visit->place == IN_THE_YARD)
        return __atomic_load_n(published, __ATOMIC_SEQ_CST);
    struct place *mine = &places[visit->place - 1];
    own.innermost = visit->place;
    for (;;) {
        /* Announced first and looked at again after: who frees it looks at the places after it has taken it down. */
        reads = __atomic_load_n(published, __ATOMIC_ACQUIRE);
        __atomic_store_n(&mine->reads, reads, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(published, __ATOMIC_SEQ_CST) == reads)
            break;
    }
    if (!reads) {
        visitors_leave(visit);
        visit->place = NO_PLACE;
    }
    return reads;
}

void visitors_leave(const struct visit *visit)
{
    if (visit->place == NO_PLACE)
        return;
    if (visit->place == IN_THE_YARD) {
        __atomic_sub_fetch(&in_the_yard, 1, __ATOMIC_SEQ_CST);
        return;
    }
    /* Calls inside this one that never returned are over too. */
    while (own.innermost && own.innermost != visit->place)
        release(own.innermost);
    release(visit->place);
}

bool visitors_hold(const void *what)
{
    bool is_held = __atomic_load_n(&in_the_yard, __ATOMIC_SEQ_CST) != 0;
    uint32_t end = __atomic_load_n(&places_end, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < end; i++) {
        uint32_t thread = __atomic_load_n(&places[i].thread, __ATOMIC_SEQ_CST);
        if (!thread || __atomic_load_n(&places[i].reads, __ATOMIC_SEQ_CST) != what)
            continue;
        if (!is_gone(thread)) {
            is_held = true;
            continue;
        }
        __atomic_store_n(&places[i].reads, NULL, __ATOMIC_RELAXED);
        __atomic_store_n(&places[i].thread, 0, __ATOMIC_RELEASE);
    }
    return is_held;
}

/* Kept for the thread, which has another one in a fork child: there its places are still its own. */
static uint32_t thread_id(void)
{
    pid_t process = process_id();
    if (own.process == process)
        return (uint32_t)own.thread;
    own.thread = (pid_t)syscall(SYS_gettid);
    own.process = process;
    for (uint32_t place = own.innermost; place; place = places[place - 1].outer)
        __atomic_store_n(&places[place - 1].thread, (uint32_t)own.thread, __ATOMIC_RELEASE);
    return (uint32_t)own.thread;
}

static uint32_t take_place(uint32_t thread, uintptr_t frame)
{
    for (uint32_t i = 0; i < PLACES; i++) {
        uint32_t at = ((uint32_t)hash_mix(thread) + i) % PLACES, nobody = 0;
        struct place *place = &places[at];
        if (__atomic_load_n(&place->thread, __ATOMIC_RELAXED) ||
            !__atomic_compare_exchange_n(&place->thread, &nobody, thread, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_RELAXED))
            continue;
        place->frame = frame;
        place->outer = own.innermost;
        uint32_t end = __atomic_load_n(&places_end, __ATOMIC_RELAXED);
        while (end <= at && !__atomic_compare_exchange_n(&places_end, &end, at + 1, false, __ATOMIC_SEQ_CST,
                                                         __ATOMIC_RELAXED))
            ;
        return at + 1;
    }
    __atomic_add_fetch(&in_the_yard, 1, __ATOMIC_SEQ_CST);
    return IN_THE_YARD;
}

/* A call of this thread that is still going on is further out on the stack; unless a handler runs on a stack of its
 * own, and then nothing is known. */
static void forget_gone(uintptr_t frame)
{
    while (own.innermost && places[own.innermost - 1].frame <= frame && !is_on_alternate_stack())
        release(own.innermost);
}

static bool is_on_alternate_stack(void)
{
    int error = errno;
    stack_t stack;
    bool is_on = sigaltstack(NULL, &stack) != 0 || stack.ss_flags & SS_ONSTACK;
    errno = error;
    return is_on;
}

/* Out of the chain before it is free: a handler that comes in between finds nothing that another thread may have. */
static void release(uint32_t number)
{
    struct place *place = &places[number - 1];
    own.innermost = place->outer;
    __atomic_store_n(&place->reads, NULL, __ATOMIC_RELEASE);
    __atomic_store_n(&place->thread, 0, __ATOMIC_RELEASE);
}

static bool is_gone(uint32_t thread)
{
    int error = errno;
    bool is_gone = syscall(SYS_tgkill, getpid(), thread, 0) != 0 && errno == ESRCH;
    errno = error;
    return is_gone;
}
