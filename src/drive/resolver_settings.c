#include "drive/resolver_settings.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"

/* A few microseconds have passed since the whole second that the rule names. */
#define PASSED_SINCE_NS (100 * NS_PER_MS)

/* What this thread's settings were and what we have made of them; set_retry is 0 where nothing is changed. */
static __thread struct {
    int16_t retrans, retry, set_retrans, set_retry;
} changed __attribute__((tls_model("initial-exec")));

static bool set_up(void);
static unsigned candidates_of(const char *name);
static bool is_same_search(const struct resolver_copy *copy);

bool resolver_plan(const char *name, uint64_t left_ns, struct resolver_plan *plan)
{
    if (!set_up())
        return false;
    const struct __res_state *state = &_res;
    if (state->retrans > INT16_MAX || state->retry > INT16_MAX || state->retrans < 0 || state->retry < 1)
        return false;
    unsigned each = (state->nscount > 0 ? (unsigned)state->nscount : 1) * candidates_of(name);
    uint64_t rounds = (left_ns + PASSED_SINCE_NS) / NS_PER_S / each;
    if (rounds < 1)
        rounds = 1;
    if (rounds > INT16_MAX)
        rounds = INT16_MAX;
    plan->retrans = state->retrans;
    plan->retry = state->retry;
    if ((uint64_t)state->retrans * (uint64_t)state->retry > rounds) {
        plan->retry = rounds >= 2 ? 2 : 1;
        plan->retrans = (int)(rounds / (unsigned)plan->retry);
    }
    plan->takes_ns = (uint64_t)plan->retrans * (uint64_t)plan->retry * each * NS_PER_S;
    return true;
}

void resolver_apply(const struct resolver_plan *plan)
{
    if (_res.retrans == plan->retrans && _res.retry == plan->retry)
        return;
    changed.retrans = (int16_t)_res.retrans;
    changed.retry = (int16_t)_res.retry;
    changed.set_retrans = (int16_t)plan->retrans;
    changed.set_retry = (int16_t)plan->retry;
    _res.retrans = plan->retrans;
    _res.retry = plan->retry;
}

void resolver_restore(void)
{
    if (!changed.set_retry)
        return;
    /* If the program has changed them meanwhile they are its own again. */
    if (_res.retrans == changed.set_retrans && _res.retry == changed.set_retry) {
        _res.retrans = changed.retrans;
        _res.retry = changed.retry;
    }
    changed.set_retry = 0;
}

void resolver_copy(struct resolver_copy *copy)
{
    const struct __res_state *state = &_res;
    copy->is_made = state->options & RES_INIT;
    if (!copy->is_made)
        return;
    copy->options = state->options;
    copy->ndots = state->ndots;
    copy->retrans = state->retrans;
    copy->retry = state->retry;
    copy->servers = state->nscount;
    memcpy(copy->server, state->nsaddr_list, sizeof copy->server);
    size_t used = 0;
    copy->domains = 0;
    while (copy->domains < MAXDNSRCH && state->dnsrch[copy->domains]) {
        size_t length = strlen(state->dnsrch[copy->domains]) + 1;
        if (length > sizeof copy->search - used)
            break;
        memcpy(copy->search + used, state->dnsrch[copy->domains++], length);
        used += length;
    }
}

/* Only what differs from what this thread finds by itself: as long as nothing does, libc reads resolv.conf again when it
 * changes, and knows servers with IPv6 addresses, which are not in the list. */
void resolver_adopt(const struct resolver_copy *copy)
{
    /* A new thread has looked nothing up. In a fork child its stack may be that of a thread of the parent, and glibc
     * leaves the resolver's state on it: with the socket on which the parent still waits for an answer. The socket stays
     * open, as its number may be something else's by now. */
    if (_res.options & RES_INIT)
        memset(&_res, 0, sizeof _res);
    if (!set_up() || !copy->is_made)
        return;
    struct __res_state *state = &_res;
    state->options = copy->options;
    state->ndots = copy->ndots & 15;
    state->retrans = copy->retrans;
    state->retry = copy->retry;
    bool is_v4 = copy->servers > 0 && copy->servers <= MAXNS, is_same = copy->servers == state->nscount;
    for (int i = 0; is_v4 && i < copy->servers; i++) {
        const struct sockaddr_in *theirs = &copy->server[i], *ours = &state->nsaddr_list[i];
        is_v4 = theirs->sin_family == AF_INET;
        is_same &= theirs->sin_addr.s_addr == ours->sin_addr.s_addr && theirs->sin_port == ours->sin_port;
    }
    if (is_v4 && !is_same) {
        state->nscount = copy->servers;
        memcpy(state->nsaddr_list, copy->server, sizeof copy->server);
    }
    if (is_same_search(copy))
        return;
    memcpy(state->defdname, copy->search, sizeof copy->search);
    char *at = state->defdname;
    for (unsigned i = 0; i < copy->domains; i++, at += strlen(at) + 1)
        state->dnsrch[i] = at;
    state->dnsrch[copy->domains] = NULL;
}

static bool set_up(void)
{
    int error = errno;
    bool is_set_up = _res.options & RES_INIT || res_init() == 0;
    errno = error;
    return is_set_up;
}

static unsigned candidates_of(const char *name)
{
    const struct __res_state *state = &_res;
    unsigned candidates = 0, dots = 0;
    for (const char *at = name; *at; at++)
        dots += *at == '.';
    if (dots < state->ndots && state->options & RES_DNSRCH)
        while (candidates < MAXDNSRCH && state->dnsrch[candidates])
            candidates++;
    else if (state->options & RES_DNSRCH && state->dnsrch[0] && name[strlen(name) - 1] != '.')
        candidates = 2; /* as it is, then with a domain */
    return candidates ? candidates : 1;
}

static bool is_same_search(const struct resolver_copy *copy)
{
    const char *at = copy->search;
    for (unsigned i = 0; i < copy->domains; i++, at += strlen(at) + 1)
        if (!_res.dnsrch[i] || strcmp(_res.dnsrch[i], at) != 0)
            return false;
    return !_res.dnsrch[copy->domains];
}
