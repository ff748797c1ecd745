#include "drive/own_option.h"

#include <errno.h>
#include <string.h>

#include "drive/options.h"
#include "drive/park.h"
#include "drive/signals.h"
#include "hooks/real.h"
#include "state/pending.h"
#include "state/process.h"

static struct pending *claim(struct descriptor *entry, int fd, sigset_t *mask);
static int *saved(struct pending *pending, int level, int option);
static bool is_shorter(int level, int ours, int own);

int own_option_get(struct descriptor *entry, int fd, int level, int option, void *value, socklen_t *length)
{
    sigset_t mask;
    struct pending *pending = claim(entry, fd, &mask);
    int *own = pending ? saved(pending, level, option) : NULL;
    int result = real.getsockopt(fd, level, option, value, length);
    if (result == 0 && own && *length == 1) { /* a program with room for no more gets so much of it */
        *(uint8_t *)value = (uint8_t)*own;
    } else if (result == 0 && own) {
        memcpy(value, own, *length < sizeof *own ? *length : sizeof *own);
    }
    if (pending)
        pending_put_back(pending);
    signals_restore(&mask);
    return result;
}

/* The kernel judges the value first; what it refuses the program must see refused. */
int own_option_set(struct descriptor *entry, int fd, int level, int option, const void *value,
                   socklen_t length)
{
    sigset_t mask;
    int error = errno, ours = 0;
    socklen_t size = sizeof ours;
    struct pending *pending = claim(entry, fd, &mask);
    int *own = pending ? saved(pending, level, option) : NULL;
    if (own && real.getsockopt(fd, level, option, &ours, &size) != 0)
        own = NULL;
    errno = error;
    int result = real.setsockopt(fd, level, option, value, length);
    error = errno;
    if (result == 0 && own && real.getsockopt(fd, level, option, own, &size) == 0 &&
        is_shorter(level, ours, *own))
        real.setsockopt(fd, level, option, &ours, sizeof ours);
    if (pending)
        pending_put_back(pending);
    signals_restore(&mask);
    errno = error;
    return result;
}

static struct pending *claim(struct descriptor *entry, int fd, sigset_t *mask)
{
    signals_block(mask);
    struct pending *pending = process_owns_memory() ? pending_claim(entry) : NULL;
    if (!pending || (descriptor_of(fd) == entry && option_cookie(fd) == entry->cookie))
        return pending;
    pending_put_back(pending);
    return NULL;
}

/* Where the program's value is kept while ours is in force; NULL: its own is. */
static int *saved(struct pending *pending, int level, int option)
{
    if (level == IPPROTO_TCP)
        return pending->saved_user_timeout_ms >= 0 ? &pending->saved_user_timeout_ms : NULL;
    bool is_parked = pending->phase == PENDING_PARKED && !pending->is_withheld &&
                     park_uses(&pending->address.any, level, option);
    return is_parked ? &pending->saved_hops : NULL;
}

/* Ours stays in force. Of times the program's own may end the attempt sooner; the minimum of hops has to be ours. */
static bool is_shorter(int level, int ours, int own)
{
    return level != IPPROTO_TCP || own == 0 || own > ours;
}
