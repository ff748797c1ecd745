#include "drive/resolver.h"

#include <errno.h>
#include <netinet/in.h>
#include <resolv.h>
#include <string.h>

#include "base/clock.h"
#include "drive/connect.h"
#include "drive/nesting.h"
#include "drive/signals.h"
#include "hooks/real.h"
#include "policy/call.h"
#include "state/current.h"
#include "state/process.h"

/* One call of the program, in the form in which it can be made again. Answers as getaddrinfo does. */
struct lookup {
    int (*make)(struct lookup *lookup);
    const char *name, *service;
    const struct addrinfo *hints;
    struct addrinfo **answers;
    /* The rest is for the gethostbyname family. */
    int family; /* AF_UNSPEC: the form without one */
    struct hostent *host, **answer;
    char *buffer;
    size_t size;
    int *error;
    int result;
};

/* The calling thread's resolver settings, as they were. */
struct resolver_settings {
    bool is_changed;
    int retrans, retry;
};

static int drive(struct lookup *lookup);
static int make_getaddrinfo(struct lookup *lookup);
static int make_gethostbyname(struct lookup *lookup);
static int make_gethostbyname_r(struct lookup *lookup);
static int look_up_under(struct lookup *lookup, const struct rule *rule, const struct target *target);
static int look_up(struct lookup *lookup, uint64_t left_ns);
static struct resolver_settings resolver_bound(const char *name, uint64_t left_ns);
static void resolver_restore(struct resolver_settings before);
static uint16_t port_of(const char *service);
static void remember(const char *name, const struct lookup *lookup);
static void tell_lookup(enum event_kind kind, const struct target *target, const struct call *state,
                        const struct call_step *step, int eai, uint64_t now_ns);

int drive_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                      struct addrinfo **answers)
{
    struct lookup lookup = {
        .make = make_getaddrinfo, .name = name, .service = service, .hints = hints, .answers = answers};
    bool is_literal = !name || (hints && hints->ai_flags & AI_NUMERICHOST);
    return is_literal ? make_getaddrinfo(&lookup) : drive(&lookup);
}

struct hostent *drive_gethostbyname(const char *name, int family)
{
    struct hostent *answer = NULL;
    struct lookup lookup = {.make = make_gethostbyname, .name = name, .family = family, .answer = &answer};
    drive(&lookup);
    return answer;
}

int drive_gethostbyname_r(const char *name, int family, struct hostent *host, char *buffer, size_t size,
                          struct hostent **answer, int *error)
{
    struct lookup lookup = {.make = make_gethostbyname_r,
                            .name = name,
                            .family = family,
                            .host = host,
                            .buffer = buffer,
                            .size = size,
                            .answer = answer,
                            .error = error};
    drive(&lookup);
    return lookup.result;
}

static int make_getaddrinfo(struct lookup *lookup)
{
    return real.getaddrinfo(lookup->name, lookup->service, lookup->hints, lookup->answers);
}

static int eai_of(int error)
{
    switch (error) {
    case 0:
        return 0;
    case TRY_AGAIN:
        return EAI_AGAIN;
    case NO_RECOVERY:
        return EAI_FAIL;
    case HOST_NOT_FOUND:
    case NO_DATA:
        return EAI_NONAME;
    }
    return EAI_SYSTEM; /* NETDB_INTERNAL: a buffer too small, no memory... */
}

static int make_gethostbyname(struct lookup *lookup)
{
    *lookup->answer = lookup->family == AF_UNSPEC ? real.gethostbyname(lookup->name)
                                                  : real.gethostbyname2(lookup->name, lookup->family);
    return *lookup->answer ? 0 : eai_of(h_errno);
}

static int make_gethostbyname_r(struct lookup *lookup)
{
    lookup->result = lookup->family == AF_UNSPEC
                         ? real.gethostbyname_r(lookup->name, lookup->host, lookup->buffer, lookup->size,
                                                lookup->answer, lookup->error)
                         : real.gethostbyname2_r(lookup->name, lookup->family, lookup->host, lookup->buffer,
                                                 lookup->size, lookup->answer, lookup->error);
    return lookup->result == 0 && *lookup->answer ? 0 : eai_of(*lookup->error);
}

/* The rule, if any, and the call under it. */
static int drive(struct lookup *lookup)
{
    const struct ruleset *rules = lookup->name ? rules_now() : NULL;
    struct address literal;
    char normal[NAME_MAX_BYTES];
    if (!rules || !rules->is_any_host || nesting_is_inside() || address_parse(lookup->name, &literal) ||
        !name_normalize(lookup->name, normal))
        return lookup->make(lookup);

    struct target target = {.name = normal, .port = port_of(lookup->service)};
    const struct rule *rule = ruleset_find(rules, &target, process_program());
    bool has_policy =
        rule && (rule->policy.timeout.resolve_ns ||
                 (rule->policy.retry.is_on && rule->policy.retry.retry_on & OUTCOME_BIT(OUTCOME_RESOLVE)));
    if (has_policy && rule->policy.enforce_ppm < PPM_ONE) {
        struct random random = {process_next_seed()};
        has_policy = random_chance(&random, rule->policy.enforce_ppm);
    }
    int eai = has_policy ? look_up_under(lookup, rule, &target) : look_up(lookup, 0);
    if (eai == 0)
        remember(normal, lookup);
    return eai;
}

static int look_up_under(struct lookup *lookup, const struct rule *rule, const struct target *target)
{
    const struct policy *policy = &rule->policy;
    struct call_params params = {
        .total_ns = policy->timeout.resolve_ns,
        .max_retries = policy->retry.is_on ? policy->retry.max_retries : 0,
        .retry_on = policy->retry.retry_on,
        .backoff = policy->retry.backoff,
        .timeout_error = EAI_AGAIN,
    };
    uint64_t now = clock_now_ns();
    struct call state;
    struct call_step step = call_begin(&state, &params, BREAKER_ADMIT, process_next_seed(), now);
    int eai = EAI_AGAIN;
    while (step.action != CALL_DONE) {
        if (step.action == CALL_WAIT) {
            /* A lookup is not interrupted by signals, so neither is the wait between two: handlers run, then it goes on. */
            sigset_t mask;
            signals_block(&mask);
            signals_wait(-1, 0, step.until_ns, &mask);
            signals_restore(&mask);
            step = call_due(&state, clock_now_ns());
            continue;
        }
        now = clock_now_ns();
        eai = look_up(lookup, step.until_ns == NEVER ? 0 : step.until_ns > now ? step.until_ns - now : 1);
        int error = errno;
        now = clock_now_ns();
        step = call_ended(&state, outcome_of_lookup(eai, error), eai, now);
        errno = error;
        if (step.action != CALL_WAIT)
            continue;
        struct host_handle host = hosts_find(rule, target, now);
        if (!budget_take(host, &policy->retry.budget, now)) {
            step = call_denied(&state);
            continue;
        }
        host_count(host, HOST_RETRIES);
        tell_lookup(EVENT_LOOKUP_RETRY, target, &state, &step, eai, now);
    }
    if (step.ending == CALL_FAILED && outcome_is_failure(step.outcome)) {
        now = clock_now_ns();
        host_count(hosts_find(rule, target, now), HOST_LOOKUPS_FAILED);
        tell_lookup(EVENT_LOOKUP_FAILED, target, &state, &step, eai, now);
    }
    return eai;
}

/* The real lookup, bounded if `left_ns` is not 0. Name service modules make connections of their own meanwhile. */
static int look_up(struct lookup *lookup, uint64_t left_ns)
{
    struct nesting guard;
    struct resolver_settings before = {.is_changed = false};
    if (left_ns)
        before = resolver_bound(lookup->name, left_ns);
    nesting_enter(&guard);
    int eai = lookup->make(lookup);
    nesting_leave(&guard);
    if (before.is_changed)
        resolver_restore(before);
    return eai;
}

/* glibc waits retrans seconds for each server, retry times over, for each candidate that the search list makes of the
 * name; whole seconds, at least one each. */
static struct resolver_settings resolver_bound(const char *name, uint64_t left_ns)
{
    struct resolver_settings before = {.is_changed = false};
    int error = errno;
    struct __res_state *state = &_res;
    if (!(state->options & RES_INIT) && res_init() != 0) {
        errno = error;
        return before;
    }
    errno = error;
    unsigned servers = state->nscount > 0 ? (unsigned)state->nscount : 1, candidates = 0, dots = 0;
    for (const char *at = name; *at; at++)
        dots += *at == '.';
    if (dots < state->ndots && state->options & RES_DNSRCH)
        while (candidates < MAXDNSRCH && state->dnsrch[candidates])
            candidates++;
    else if (state->options & RES_DNSRCH && state->dnsrch[0] && name[strlen(name) - 1] != '.')
        candidates = 2; /* as it is, then with a domain */
    if (!candidates)
        candidates = 1;
    /* A few microseconds have passed since the whole second that the rule names. */
    uint64_t rounds = (left_ns + NS_PER_S / 2) / NS_PER_S / (servers * candidates);
    if (rounds < 1)
        rounds = 1;
    if ((uint64_t)state->retrans * (uint64_t)state->retry <= rounds)
        return before; /* short enough as it is */
    before.is_changed = true;
    before.retrans = state->retrans;
    before.retry = state->retry;
    state->retry = rounds >= 2 ? 2 : 1;
    state->retrans = (int)(rounds / (unsigned)state->retry);
    return before;
}

static void resolver_restore(struct resolver_settings before)
{
    _res.retrans = before.retrans;
    _res.retry = before.retry;
}

static uint16_t port_of(const char *service)
{
    unsigned port = 0;
    for (; service && *service; service++) {
        if (*service < '0' || *service > '9' || port > UINT16_MAX)
            return 0; /* a service's name: the rule is found without a port */
        port = port * 10 + (unsigned)(*service - '0');
    }
    return port > UINT16_MAX ? 0 : (uint16_t)port;
}

/* The addresses of an answer, each once: getaddrinfo gives them once for each kind of socket. */
struct answered {
    struct address addresses[2 * ANSWER_MAX];
    unsigned count;
};

static void remember_address(const char *name, const struct address *address, struct answered *answered)
{
    for (unsigned i = 0; i < answered->count; i++)
        if (address_equal(&answered->addresses[i], address))
            return;
    if (answered->count < sizeof answered->addresses / sizeof *answered->addresses)
        answered->addresses[answered->count++] = *address;
    names_remember(name, address);
}

static void remember(const char *name, const struct lookup *lookup)
{
    struct answered answered = {.count = 0};
    names_looked_up(name);
    for (const struct addrinfo *answer = lookup->answers ? *lookup->answers : NULL; answer;
         answer = answer->ai_next) {
        struct target target;
        if (target_of_sockaddr(answer->ai_addr, answer->ai_addrlen, &target))
            remember_address(name, &target.address, &answered);
    }
    const struct hostent *host = lookup->answer ? *lookup->answer : NULL;
    for (char **address = host ? host->h_addr_list : NULL; address && *address; address++) {
        struct address found = {{[10] = 0xff, [11] = 0xff}};
        if (host->h_length == 16)
            memcpy(found.bytes, *address, 16);
        else
            memcpy(found.bytes + 12, *address, 4);
        remember_address(name, &found, &answered);
    }
    names_answered(name, answered.addresses, answered.count);
}

static void tell_lookup(enum event_kind kind, const struct target *target, const struct call *state,
                        const struct call_step *step, int eai, uint64_t now_ns)
{
    char text[56];
    target_text(target, text, sizeof text);
    struct event event = event_about(kind, text);
    event.duration_ns = now_ns - state->begun_ns;
    event.delay_ns = step->action == CALL_WAIT ? step->until_ns - now_ns : 0;
    event.error = eai;
    event.attempt = (uint16_t)state->attempts;
    event.attempts = (uint16_t)(state->params.max_retries + 1);
    tell(&event);
}
