#include "drive/silence.h"

#include "drive/park.h"
#include "drive/raw.h"
#include "drive/withhold.h"
#include "hooks/real.h"
#include "state/segment.h"

static bool is_local(const struct pending *pending);

bool silence_begin(struct pending *pending)
{
    bool is_parked = !is_local(pending) && park(pending->fd, &pending->address.any, &pending->saved_hops);
    if (is_parked) {
        silence_is_over(pending); /* the attempt before was over before it could be shown */
        return true;
    }
    pending->is_withheld = true;
    segment_passed(PASSED_NOT_PARKED);
    if (!is_local(pending) && !raw_disconnect(pending->fd))
        return false;
    int failure;
    socklen_t length = sizeof failure;
    real.getsockopt(pending->fd, SOL_SOCKET, SO_ERROR, &failure, &length); /* or the next attempt had it */
    withhold(pending, WITHHOLD_ALL, NEVER);
    return true;
}

bool silence_holds(const struct pending *pending)
{
    return pending->is_withheld || !raw_poll(pending->fd);
}

bool silence_end(struct pending *pending)
{
    return pending->is_withheld || unpark(pending->fd, &pending->address.any, pending->saved_hops);
}

void silence_is_over(struct pending *pending)
{
    pending->is_withheld = false;
    withhold_show(pending, WITHHOLD_ALL);
}

void silence_leave(struct pending *pending)
{
    if (!pending->is_withheld)
        stay_parked(pending->fd, &pending->address.any, pending->saved_hops);
    silence_is_over(pending);
}

/* A UNIX socket has no attempt in flight that could be taken back. */
static bool is_local(const struct pending *pending)
{
    return pending->address.any.sa_family == AF_UNIX;
}
