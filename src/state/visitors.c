#include "state/visitors.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "state/own.h"
#include "state/process.h"

#define PLACES_BITS 10
#define PLACES      (1u << PLACES_BITS)
#define NO_PLACE    0u
#define IN_THE_YARD (PLACES + 1) /* all places were taken */
/* 2^32 over the golden ratio: threads that were made one after the other begin to look for a place far apart. */
#define GOLDEN 0x9e3779b1u

struct place {
    /* The thread's id (32 bits), and the version from which on it reads (32 bits). 0: free. */
    uint64_t visitor;
    uintptr_t frame; /* where that thread's stack was; deeper is less */
    uint32_t outer;  /* the place of the call that this thread was in already, or NO_PLACE */
};
static struct place places[PLACES];
static uint32_t places_end; /* none from here on was ever taken */
static uint64_t in_the_yard;

/* One by one, as a structure would be given more room: thread-local storage is scarce. */
#define OWN static __thread __attribute__((tls_model("initial-exec")))
OWN uint32_t own_innermost; /* place */
OWN pid_t own_thread, own_process;

static uint64_t visitor_of(uint32_t thread, uint32_t version);
static uint32_t thread_id(void);
static uint32_t take_place(uint32_t thread, uint32_t version, uintptr_t frame);
static void raise_end(uint32_t at);
static void forget_gone(uintptr_t frame);
static bool is_on_alternate_stack(void);
static void release(uint32_t place);
static bool is_gone(uint32_t thread);

/* Not inlined: the frame is compared with those of other calls, which have to be made alike. */
__attribute__((noinline)) const void *visitors_enter(struct visit *visit, const struct published *published)
{
    visit->place = NO_PLACE;
    if (!__atomic_load_n(&published->what, __ATOMIC_ACQUIRE))
        return NULL;
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    uint32_t thread = thread_id();
    if (own_innermost)
        forget_gone(frame);
    uint32_t version = __atomic_load_n(&published->version, __ATOMIC_ACQUIRE);
    visit->place = take_place(thread, version, frame);
    if (visit->place != IN_THE_YARD) {
        own_innermost = visit->place;
        /* Announced first and looked at again after: who frees it looks at the places after it has taken it down. */
        for (uint32_t now; (now = __atomic_load_n(&published->version, __ATOMIC_SEQ_CST)) != version;
             version = now)
            __atomic_store_n(&places[visit->place - 1].visitor, visitor_of(thread, now), __ATOMIC_SEQ_CST);
    }
    const void *what = __atomic_load_n(&published->what, __ATOMIC_SEQ_CST);
    if (!what) {
        visitors_leave(visit);
        visit->place = NO_PLACE;
    }
    return what;
}

const void *visitors_publish(struct published *published, const void *what)
{
    /* In this order: whoever has announced the new version sees it. */
    const void *before = __atomic_exchange_n(&published->what, what, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&published->version, 1, __ATOMIC_SEQ_CST);
    return before;
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
    while (own_innermost && own_innermost != visit->place)
        release(own_innermost);
    release(visit->place);
}

bool visitors_hold(uint32_t version)
{
    (void)thread_id(); /* in a fork child this thread's places are still under its parent's */
    bool is_held = __atomic_load_n(&in_the_yard, __ATOMIC_SEQ_CST) != 0;
    uint32_t end = __atomic_load_n(&places_end, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < end; i++) {
        uint64_t visitor = __atomic_load_n(&places[i].visitor, __ATOMIC_SEQ_CST);
        if (!visitor || (int32_t)((uint32_t)visitor - version) > 0)
            continue;
        if (is_gone((uint32_t)(visitor >> 32)))
            __atomic_store_n(&places[i].visitor, 0, __ATOMIC_RELEASE);
        else
            is_held = true;
    }
    return is_held;
}

static uint64_t visitor_of(uint32_t thread, uint32_t version)
{
    return (uint64_t)thread << 32 | version;
}

/* Kept for the thread, which has another one in a fork child: there its places are still its own. */
static uint32_t thread_id(void)
{
    pid_t process = process_id();
    if (own_process == process)
        return (uint32_t)own_thread;
    own_thread = (pid_t)syscall(SYS_gettid);
    own_process = process;
    for (uint32_t place = own_innermost; place; place = places[place - 1].outer) {
        uint64_t *visitor = &places[place - 1].visitor;
        uint32_t version = (uint32_t)__atomic_load_n(visitor, __ATOMIC_RELAXED);
        __atomic_store_n(visitor, visitor_of((uint32_t)own_thread, version), __ATOMIC_RELEASE);
    }
    return (uint32_t)own_thread;
}

static uint32_t take_place(uint32_t thread, uint32_t version, uintptr_t frame)
{
    uint32_t at = thread * GOLDEN >> (32 - PLACES_BITS);
    for (uint32_t i = 0; i < PLACES; i++, at = (at + 1) % PLACES) {
        struct place *place = &places[at];
        uint64_t nobody = 0;
        if (__atomic_load_n(&place->visitor, __ATOMIC_RELAXED) ||
            !own_replace_64((_Atomic uint64_t *)&place->visitor, &nobody, visitor_of(thread, version)))
            continue;
        place->frame = frame;
        place->outer = own_innermost;
        if (__builtin_expect(__atomic_load_n(&places_end, __ATOMIC_RELAXED) <= at, 0))
            raise_end(at);
        return at + 1;
    }
    __atomic_add_fetch(&in_the_yard, 1, __ATOMIC_SEQ_CST);
    return IN_THE_YARD;
}

static void raise_end(uint32_t at)
{
    uint32_t end = __atomic_load_n(&places_end, __ATOMIC_RELAXED);
    while (end <= at &&
           !__atomic_compare_exchange_n(&places_end, &end, at + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        ;
}

/* A call of this thread that is still going on is further out on the stack; unless a handler runs on a stack of its
 * own, and then nothing is known. */
static void forget_gone(uintptr_t frame)
{
    while (own_innermost && places[own_innermost - 1].frame <= frame && !is_on_alternate_stack())
        release(own_innermost);
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
    own_innermost = place->outer;
    __atomic_store_n(&place->visitor, 0, __ATOMIC_RELEASE);
}

static bool is_gone(uint32_t thread)
{
    int error = errno;
    bool is_gone = syscall(SYS_tgkill, getpid(), thread, 0) != 0 && errno == ESRCH;
    errno = error;
    return is_gone;
}
