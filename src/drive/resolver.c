#include "drive/resolver.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/clock.h"
#include "drive/connect.h"
#include "drive/fault_lookup.h"
#include "drive/lookup.h"
#include "drive/lookup_thread.h"
#include "drive/name_services.h"
#include "drive/nesting.h"
#include "drive/options.h"
#include "drive/resolver_settings.h"
#include "drive/signals.h"
#include "drive/stale.h"
#include "hooks/real.h"
#include "policy/call.h"
#include "state/current.h"
#include "state/kept_names.h"
#include "state/process.h"

static int drive(struct lookup *lookup);
static int drive_under(struct lookup *lookup, const struct ruleset *rules);
static int look_up_under(struct lookup *lookup, const struct ruleset *rules, const struct rule *rule,
                         const struct target *target, struct flow *flow);
static int look_up(struct lookup *lookup, struct flow *flow, const char *name, uint64_t resolve_ns,
                   uint64_t until_ns);
static bool look_up_in_thread(struct lookup *lookup, uint64_t resolve_ns, bool is_plain,
                              const struct resolver_plan *plan, uint64_t until_ns, int *eai);
static void look_up_fallbacks(const struct ruleset *rules, uint64_t until_ns);
static uint16_t port_of(const char *service);
static __attribute__((noinline)) void remember(const char *name, const struct lookup *lookup);
static void tell_lookup(enum event_kind kind, const struct target *target, const struct call *state,
                        const struct call_step *step, int eai, uint64_t now_ns);

int drive_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                      struct addrinfo **answers, uintptr_t caller)
{
    struct lookup lookup = {.form = LOOKUP_GETADDRINFO,
                            .name = name,
                            .service = service,
                            .hints = hints,
                            .answers = answers,
                            .caller = caller};
    bool is_literal = !name || (hints && hints->ai_flags & AI_NUMERICHOST);
    return is_literal ? lookup_make(&lookup) : drive(&lookup);
}

struct hostent *drive_gethostbyname(const char *name, int family, uintptr_t caller)
{
    struct hostent *answer = NULL;
    struct lookup lookup = {
        .form = LOOKUP_GETHOSTBYNAME, .name = name, .family = family, .answer = &answer, .caller = caller};
    drive(&lookup);
    return answer;
}

int drive_gethostbyname_r(const char *name, int family, struct hostent *host, char *buffer, size_t size,
                          struct hostent **answer, int *error, uintptr_t caller)
{
    struct lookup lookup = {.form = LOOKUP_GETHOSTBYNAME_R,
                            .name = name,
                            .family = family,
                            .host = host,
                            .buffer = buffer,
                            .size = size,
                            .answer = answer,
                            .error = error,
                            .caller = caller};
    drive(&lookup);
    return lookup.result;
}

/* The rule, if any, and the call under it. */
static int drive(struct lookup *lookup)
{
    if (!lookup->name)
        return lookup_make(lookup);
    struct visit visit;
    const struct ruleset *rules = rules_enter(&visit);
    bool are_coming = !rules && rules_are_coming();
    if (!rules && !are_coming) {
        resolver_restore(); /* there may have been rules before */
        return lookup_make(lookup);
    }
    if (are_coming)
        segment_passed(PASSED_LOADING);
    int eai = drive_under(lookup, rules);
    rules_leave(&visit);
    return eai;
}

/* `rules` may be NULL, if they are only being read. */
static int drive_under(struct lookup *lookup, const struct ruleset *rules)
{
    if (nesting_is_inside())
        return lookup_make(lookup);
    resolver_restore(); /* where the last lookup of this thread was left by siglongjmp */
    struct address literal;
    char normal[NAME_MAX_BYTES];
    if (address_parse(lookup->name, &literal))
        return lookup_make(lookup);
    if (!rules || !rules->is_any_host || !name_normalize(lookup->name, normal))
        return look_up(lookup, NULL, NULL, 0,
                       NEVER); /* rules for addresses are not for its connections either */

    struct target target = {.name = normal, .port = port_of(lookup->service)};
    const struct rule *rule = ruleset_find(rules, &target, process_program());
    bool has_policy =
        rule && (rule->policy.timeout.resolve_ns || rule->policy.ladder ||
                 (rule->policy.retry.is_on && rule->policy.retry.retry_on & OUTCOME_BIT(OUTCOME_RESOLVE)));
    if (has_policy && rule->policy.enforce_ppm < PPM_ONE) {
        struct random random = {process_next_seed()};
        has_policy = random_chance(&random, rule->policy.enforce_ppm);
    }
    struct flow *flow = fault_lookup_flow(rules, &target);
    int eai = has_policy ? look_up_under(lookup, rules, rule, &target, flow)
                         : look_up(lookup, flow, normal, 0, NEVER);
    flow_end(flow);
    if (eai == 0)
        remember(normal, lookup);
    if (eai == 0 && rules->fallback_name_count)
        look_up_fallbacks(rules, NEVER);
    return eai;
}

static int look_up_under(struct lookup *lookup, const struct ruleset *rules, const struct rule *rule,
                         const struct target *target, struct flow *flow)
{
    const struct policy *policy = &rule->policy;
    struct call_params params = {
        .total_ns = policy->timeout.resolve_ns,
        .max_retries = policy->retry.is_on ? policy->retry.max_retries : 0,
        .retry_on = policy->retry.retry_on,
        .backoff = policy->retry.backoff,
        .timeout_error = EAI_AGAIN,
    };
    int error_before = errno;
    uint64_t now = clock_now_ns(), resolve_ns = policy->timeout.resolve_ns;
    struct stale stale = stale_begin(rule, target->name, lookup);
    if (stale.verdict == STALE_SERVE && stale_serve(&stale, rule, target, lookup, 0))
        return 0;
    if (stale.late_ns) {
        resolve_ns = shorter(resolve_ns, stale.late_ns);
        params.total_ns = resolve_ns;
        lookup->goes_on_ns =
            policy->timeout.resolve_ns > resolve_ns ? policy->timeout.resolve_ns - resolve_ns : 0;
    }
    lookup->is_kept = policy->ladder != NULL;
    struct call state;
    struct call_step step = call_begin(&state, &params, BREAKER_ADMIT, process_next_seed(), now);
    int eai = EAI_AGAIN, error = errno;
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
        eai = look_up(lookup, flow, target->name, resolve_ns, step.until_ns);
        error = errno;
        now = clock_now_ns();
        step = call_ended(&state, outcome_of_lookup(eai, error), eai, now);
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
        stale_failed(&stale);
        if (stale.ladder && stale.verdict == STALE_ASK && rules->fallback_name_count)
            look_up_fallbacks(rules, policy->timeout.resolve_ns ? state.begun_ns + policy->timeout.resolve_ns
                                                                : NEVER);
        if (stale_serve(&stale, rule, target, lookup, eai)) {
            errno = error_before;
            return 0;
        }
    }
    if (eai == 0 && policy->ladder) {
        stale_keep(lookup, target->name);
        stale_not(&stale, rule, hosts_find(rule, target, now));
    }
    errno = error; /* as the last attempt left it */
    return eai;
}

/* The real lookup. If there is an end to it, it is bounded: `resolve_ns` is what the rule says. */
static int look_up(struct lookup *lookup, struct flow *flow, const char *name, uint64_t resolve_ns,
                   uint64_t until_ns)
{
    int faulty;
    if (flow && fault_lookup(lookup, flow, name, until_ns, &faulty))
        return faulty;
    bool is_plain = name_services_are_plain(), is_bounded = until_ns != NEVER, has_plan = false;
    struct resolver_plan plan;
    if (is_bounded) {
        uint64_t now = clock_now_ns();
        has_plan = resolver_plan(lookup->name, until_ns > now ? until_ns - now : 0, &plan);
        int eai;
        if (look_up_in_thread(lookup, resolve_ns, is_plain, has_plan ? &plan : NULL, until_ns, &eai))
            return eai;
    }
    if (has_plan)
        resolver_apply(&plan);
    /* Name service modules make connections of their own meanwhile; libc's own services do not come through here. */
    struct nesting guard;
    if (!is_plain)
        nesting_enter(&guard);
    int eai = lookup_make(lookup);
    if (!is_plain)
        nesting_leave(&guard);
    if (has_plan)
        resolver_restore();
    return eai;
}

/* If the resolver's settings cannot keep to the time. */
static bool look_up_in_thread(struct lookup *lookup, uint64_t resolve_ns, bool is_plain,
                              const struct resolver_plan *plan, uint64_t until_ns, int *eai)
{
    uint64_t now = clock_now_ns();
    bool is_whole = resolve_ns % NS_PER_S == 0;
    if (is_plain && is_whole && plan && now + plan->takes_ns <= until_ns + 100 * NS_PER_MS)
        return false;
    if (lookup_in_thread(lookup, until_ns, eai))
        return true;
    segment_passed(PASSED_LOOKUP_DIRECT);
    return false;
}

/* Where the fallback hosts are has to be known before it is needed: connect cannot look names up. So this is done when the
 * program looks up anything: the name servers answer, and it takes little; every 30 s at most, of all processes together. */
static __attribute__((noinline)) void look_up_fallbacks(const struct ruleset *rules, uint64_t until_ns)
{
    const struct fallback_name *fallback;
    int error = errno;
    for (uint32_t number = 0; (fallback = stale_fallback_due(rules, &number));) {
        const char *name = fallback->name;
        uint64_t now = clock_now_ns();
        if (now >= until_ns)
            break;
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *answers = NULL;
        struct lookup lookup = {
            .form = LOOKUP_GETADDRINFO, .name = name, .hints = &hints, .answers = &answers, .is_kept = true};
        uint64_t ends_ns = fallback->resolve_ns ? now + fallback->resolve_ns : NEVER;
        if (look_up(&lookup, NULL, name, fallback->resolve_ns, ends_ns < until_ns ? ends_ns : until_ns) ==
            0) {
            stale_keep(&lookup, name);
            real.freeaddrinfo(answers);
        } else {
            kept_names_failed(name, true);
        }
    }
    errno = error;
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
    event.count = kind == EVENT_LOOKUP_FAILED ? given_up_because(step->why) : 0;
    tell(&event);
}
