#include "drive/midway.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "drive/flight.h"
#include "drive/options.h"
#include "drive/readiness.h"
#include "drive/signals.h"
#include "drive/withhold.h"
#include "state/pending.h"
#include "state/process.h"

#define LOOK_NS NS_PER_MS /* where somebody else is about to do what is due */

struct given_up {
    uint32_t max_retries, siblings;
};

static bool begin_last(int fd, struct descriptor *entry, struct given_up *given_up);
static void put_back(struct descriptor *entry, const struct given_up *given_up);
static uint64_t due_of(struct descriptor *entry);

int midway_made_blocking(int fd, int (*call)(int fd, void *argument), void *argument)
{
    int error = errno;
    struct descriptor *entry = descriptor_of(fd);
    struct given_up given_up;
    bool is_begun = entry && readiness_look(fd, entry) && begin_last(fd, entry, &given_up);
    errno = error;
    int result = call(fd, argument);
    if (result < 0 && is_begun)
        put_back(entry, &given_up);
    return result;
}

static bool begin_last(int fd, struct descriptor *entry, struct given_up *given_up)
{
    sigset_t mask;
    signals_block(&mask);
    struct pending *pending = pending_claim(entry);
    bool is_ours = pending && pending_is_connect(pending->phase) && descriptor_of(fd) == entry &&
                   option_cookie(fd) == entry->cookie;
    if (is_ours) {
        pending->fd = fd;
        *given_up = (struct given_up){pending->call.params.max_retries, pending->call.params.siblings};
        atomic_fetch_and_explicit(&entry->state, ~NON_BLOCKING, memory_order_acq_rel);
        flight_begin_last(pending);
    } else if (pending) {
        pending_put_back(pending);
    }
    signals_restore(&mask);
    return is_ours;
}

/* The kernel has refused: the descriptor does not block, and there may be more attempts again. */
static void put_back(struct descriptor *entry, const struct given_up *given_up)
{
    int error = errno;
    sigset_t mask;
    signals_block(&mask);
    struct pending *pending = pending_claim(entry);
    if (pending && pending_is_connect(pending->phase)) {
        pending->call.params.max_retries = given_up->max_retries;
        pending->call.params.siblings = given_up->siblings;
    }
    atomic_fetch_or_explicit(&entry->state, NON_BLOCKING, memory_order_acq_rel);
    if (pending)
        pending_put_back(pending);
    signals_restore(&mask);
    errno = error;
}

bool midway_wait(int fd, struct descriptor *entry, int timeout_option)
{
    int error = errno;
    uint64_t own_ns = option_get_timeout(fd, timeout_option);
    uint64_t until_ns = own_ns ? clock_now_ns() + own_ns : NEVER;
    sigset_t mask;
    signals_block(&mask);
    while (readiness_look(fd, entry)) {
        uint64_t now = clock_now_ns(), due_ns = due_of(entry);
        bool is_blocking = !(atomic_load_explicit(&entry->state, memory_order_acquire) & NON_BLOCKING);
        if (!is_blocking || now >= until_ns) {
            error = EAGAIN;
            break;
        }
        if (due_ns < now + LOOK_NS)
            due_ns = now + LOOK_NS;
        /* What is withheld shows nothing that could be waited for. */
        enum waited waited =
            signals_wait(withheld_of(entry) ? -1 : fd, POLLOUT, due_ns < until_ns ? due_ns : until_ns, &mask);
        if (waited == WAITED_INTERRUPTED) {
            error = EINTR;
            break;
        }
    }
    bool is_over = !(atomic_load_explicit(&entry->state, memory_order_acquire) & CONNECTING);
    signals_restore(&mask);
    errno = error;
    return is_over;
}

static uint64_t due_of(struct descriptor *entry)
{
    const struct pending *pending = pending_of(entry);
    return pending ? atomic_load_explicit(&pending->due_ns, memory_order_relaxed) : NEVER;
}
