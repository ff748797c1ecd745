#include "drive/lookup_thread.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "drive/nesting.h"
#include "drive/resolver_settings.h"
#include "drive/signals.h"
#include "drive/stale.h"
#include "hooks/real.h"
#include "state/names.h"
#include "state/process.h"

#define REQUESTS    8u
#define STACK_BYTES (256u << 10)
#define HOST_BYTES  (64u << 10) /* a DNS answer is not longer */

/* Who may touch a request. Only the owner does, but for `state`, which changes by compare-and-swap:
 *
 *     FREE -> CLAIMED -> RUNNING -> ANSWERED -> CLAIMED -> FREE
 *       the program's   the helper's   nobody's    the program's, who takes the answer
 *                       RUNNING -> ABANDONED -> FREE
 *                                  the helper's: nobody waits
 *
 * A program that has left by siglongjmp never comes for its answer: after the deadline the next who needs a request
 * takes it. The word counts claims, so that who comes too late does not take another's answer for its own. */
enum state { FREE, CLAIMED, RUNNING, ANSWERED, ABANDONED };
#define STATE_BITS 3

struct request {
    _Atomic uint32_t state; /* enum state, and above it the number of the claim */
    _Atomic uint64_t until_ns;
    sem_t is_answered; /* may be posted once too often, by the helper before */
    enum lookup_form form;
    int family;
    bool has_service, has_hints, is_kept;
    uint64_t goes_on_ns;
    char name[NAME_MAX_BYTES + 1], service[64];
    struct addrinfo hints;
    struct resolver_copy settings;
    /* The answer */
    int eai, error, host_error, result;
    struct addrinfo *answers;
    struct hostent host, *host_answer;
    size_t size; /* of the buffer, what the program has for the answer: too little is found out early */
    char buffer[HOST_BYTES];
};

/* In memory that a fork child finds empty: the helpers are its parent's. */
static struct request *requests;

static bool can_be_moved(const struct lookup *lookup);
static bool open_requests(void);
static struct request *claim(uint32_t *claimed);
static void fill_in(struct request *request, const struct lookup *lookup, uint64_t until_ns);
static bool start_helper(struct request *request);
static void *help(void *argument);
static void wait_for(struct request *request, uint32_t running, uint64_t until_ns);
static bool take_answer(struct request *request, struct lookup *lookup, int *eai);
static void release(struct request *request);

static bool change(struct request *request, uint32_t from, enum state to)
{
    uint32_t changed = (from >> STATE_BITS << STATE_BITS) | to;
    return atomic_compare_exchange_strong_explicit(&request->state, &from, changed, memory_order_acq_rel,
                                                   memory_order_acquire);
}

static uint32_t as(uint32_t word, enum state state)
{
    return (word >> STATE_BITS << STATE_BITS) | state;
}

bool lookup_in_thread(struct lookup *lookup, uint64_t until_ns, int *eai)
{
    if (!can_be_moved(lookup) || !process_owns_memory() || !open_requests())
        return false;
    int error = errno;
    uint32_t claimed;
    sigset_t mask;
    /* A handler that does not come back must not leave a request half-way. */
    signals_block(&mask);
    struct request *request = claim(&claimed);
    bool is_started = false;
    if (request) {
        fill_in(request, lookup, until_ns);
        atomic_store_explicit(&request->state, as(claimed, RUNNING), memory_order_release);
        is_started = start_helper(request);
        if (!is_started)
            release(request);
    }
    signals_restore(&mask);
    errno = error;
    if (!is_started)
        return false;

    wait_for(request, as(claimed, RUNNING), until_ns);
    if (change(request, as(claimed, RUNNING), ABANDONED)) {
        *eai = lookup_time_out(lookup);
        return true;
    }
    bool is_taken = true;
    signals_block(&mask);
    if (change(request, as(claimed, ANSWERED), CLAIMED)) {
        is_taken = take_answer(request, lookup, eai);
        release(request);
    } else {
        /* Somebody else's by now: we are very late. Or empty: a signal handler has forked, and this is the child. */
        is_taken = clock_now_ns() >= until_ns;
        if (is_taken)
            *eai = lookup_time_out(lookup);
    }
    signals_restore(&mask);
    return is_taken;
}

/* Everything that the lookup depends on must come along. */
static bool can_be_moved(const struct lookup *lookup)
{
    for (const char *at = lookup->name; *at; at++)
        if (*at & 0x80)
            return false; /* AI_IDN: read in the locale of this thread */
    return strlen(lookup->name) <= NAME_MAX_BYTES &&
           (!lookup->service || strlen(lookup->service) < sizeof((struct request *)0)->service);
}

static bool open_requests(void)
{
    if (__atomic_load_n(&requests, __ATOMIC_ACQUIRE))
        return true;
    int error = errno;
    size_t size = sizeof(struct request[REQUESTS]);
    struct request *none = NULL, *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    bool is_open = memory != MAP_FAILED && madvise(memory, size, MADV_WIPEONFORK) == 0;
    if (memory != MAP_FAILED &&
        (!is_open ||
         !__atomic_compare_exchange_n(&requests, &none, memory, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)))
        munmap(memory, size);
    errno = error;
    return is_open;
}

static struct request *claim(uint32_t *claimed)
{
    uint64_t now = clock_now_ns();
    for (unsigned i = 0; i < REQUESTS; i++) {
        struct request *request = &requests[i];
        uint32_t word = atomic_load_explicit(&request->state, memory_order_acquire);
        enum state state = word & ((1u << STATE_BITS) - 1);
        bool is_left =
            state == ANSWERED && atomic_load_explicit(&request->until_ns, memory_order_relaxed) < now;
        if (state != FREE && !is_left)
            continue;
        *claimed = as(word + (1u << STATE_BITS), CLAIMED);
        if (!atomic_compare_exchange_strong_explicit(&request->state, &word, *claimed, memory_order_acq_rel,
                                                     memory_order_relaxed))
            continue;
        if (is_left && request->answers)
            real.freeaddrinfo(request->answers);
        return request;
    }
    return NULL;
}

static void fill_in(struct request *request, const struct lookup *lookup, uint64_t until_ns)
{
    atomic_store_explicit(&request->until_ns, until_ns, memory_order_relaxed);
    request->form = lookup->form;
    request->family = lookup->family;
    strcpy(request->name, lookup->name);
    request->has_service = lookup->service;
    if (lookup->service)
        strcpy(request->service, lookup->service);
    request->has_hints = lookup->hints;
    if (lookup->hints)
        request->hints = *lookup->hints;
    bool is_reentrant = lookup->form == LOOKUP_GETHOSTBYNAME_R;
    request->is_kept = lookup->is_kept;
    request->goes_on_ns = lookup->goes_on_ns;
    request->size = is_reentrant && lookup->size < HOST_BYTES ? lookup->size : HOST_BYTES;
    resolver_copy(&request->settings);
    request->answers = NULL;
    request->host_answer = NULL;
    sem_init(&request->is_answered, 0, 0);
}

/* Signals are blocked here, so they are in the helper, whose mask is its maker's. */
static bool start_helper(struct request *request)
{
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    pthread_t thread;
    bool is_started = pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0 &&
                      pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
                      pthread_create(&thread, &attributes, help, request) == 0;
    pthread_attr_destroy(&attributes);
    return is_started;
}

/* The helper. What it needs is in the request, as the program's thread may be gone from its stack long before. */
static void *help(void *argument)
{
    struct request *request = argument;
    uint32_t word = atomic_load_explicit(&request->state, memory_order_acquire);
    struct lookup lookup = {
        /* The form without _r answers in memory of libc that the program may be reading by now. */
        .form = request->form == LOOKUP_GETADDRINFO ? LOOKUP_GETADDRINFO : LOOKUP_GETHOSTBYNAME_R,
        .name = request->name,
        .service = request->has_service ? request->service : NULL,
        .hints = request->has_hints ? &request->hints : NULL,
        .answers = &request->answers,
        .family = request->family,
        .answer = &request->host_answer,
        .host = &request->host,
        .buffer = request->buffer,
        .size = request->size,
        .error = &request->host_error,
    };
    /* Nobody waits for longer than this, unless for the next time, so neither should the resolver, where it can be told. */
    uint64_t now = clock_now_ns();
    uint64_t until = atomic_load_explicit(&request->until_ns, memory_order_relaxed);
    if (word != as(word, RUNNING)) { /* given up before it began */
        release(request);
        return NULL;
    }
    struct resolver_plan plan;
    resolver_adopt(&request->settings);
    if (until != UINT64_MAX &&
        resolver_plan(request->name, (until > now ? until - now : 0) + request->goes_on_ns + NS_PER_S - 1,
                      &plan))
        resolver_apply(&plan);
    struct nesting guard;
    nesting_enter(&guard);
    errno = 0;
    request->eai = lookup_make(&lookup);
    request->error = errno;
    request->result = lookup.result;
    nesting_leave(&guard);
    if (request->eai != 0)
        request->answers = NULL;
    if (change(request, as(word, RUNNING), ANSWERED)) {
        sem_post(&request->is_answered);
        return NULL;
    }
    /* Nobody waits for it any more; the next lookup may be glad of it. */
    char normal[NAME_MAX_BYTES];
    if (request->is_kept && request->eai == 0 && name_normalize(request->name, normal))
        stale_keep(&lookup, normal);
    if (request->answers)
        real.freeaddrinfo(request->answers);
    release(request);
    return NULL;
}

struct waiting {
    struct request *request;
    uint32_t running; /* its state as long as there is something to wait for */
};

static void abandon(void *argument)
{
    const struct waiting *waiting = argument;
    struct request *request = waiting->request;
    if (change(request, waiting->running, ABANDONED) ||
        !change(request, as(waiting->running, ANSWERED), CLAIMED))
        return;
    if (request->answers)
        real.freeaddrinfo(request->answers);
    release(request);
}

/* Until the answer is here, or the time is over. Signal handlers run meanwhile and do not end it, as they do not end a
 * real lookup. Cancellation does: then nobody takes the answer. */
static void wait_for(struct request *request, uint32_t running, uint64_t until_ns)
{
    struct timespec until = timespec_of_ns(until_ns);
    struct waiting waiting = {request, running};
    int error = errno;
    pthread_cleanup_push(abandon, &waiting);
    while (atomic_load_explicit(&request->state, memory_order_acquire) == running)
        if (sem_clockwait(&request->is_answered, CLOCK_MONOTONIC, &until) != 0 && errno != EINTR)
            break;
    pthread_cleanup_pop(0);
    errno = error;
}

/* False: it does not fit in what we have for it, and is to be looked up directly. */
static bool take_answer(struct request *request, struct lookup *lookup, int *eai)
{
    /* What gethostbyname returns is overwritten by the next one, as in libc. */
    static struct hostent host;
    static char buffer[HOST_BYTES];
    *eai = request->eai;
    if (lookup->form == LOOKUP_GETADDRINFO) {
        if (*eai == 0)
            *lookup->answers = request->answers;
        else
            errno = request->error;
        request->answers = NULL;
        return true;
    }
    if (request->result == ERANGE && request->size == HOST_BYTES)
        return false;
    bool is_found = request->host_answer, is_reentrant = lookup->form == LOOKUP_GETHOSTBYNAME_R;
    *lookup->answer = NULL;
    lookup->result = request->result;
    if (is_reentrant)
        *lookup->error = request->host_error;
    else
        h_errno = request->host_error;
    if (!is_found) {
        errno = request->error;
        return true;
    }
    if (!lookup_copy_host(&request->host, is_reentrant ? lookup->host : &host,
                          is_reentrant ? lookup->buffer : buffer,
                          is_reentrant ? lookup->size : sizeof buffer)) {
        if (!is_reentrant)
            return false;
        *lookup->error = NETDB_INTERNAL;
        lookup->result = errno = ERANGE;
        *eai = EAI_SYSTEM;
        return true;
    }
    *lookup->answer = is_reentrant ? lookup->host : &host;
    return true;
}

static void release(struct request *request)
{
    uint32_t word = atomic_load_explicit(&request->state, memory_order_relaxed);
    atomic_store_explicit(&request->state, as(word, FREE), memory_order_release);
}
