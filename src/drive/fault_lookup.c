#include "drive/fault_lookup.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "drive/faults.h"
#include "drive/signals.h"
#include "policy/call.h"

/* What libc takes with its usual settings: two tries of 5 s at one name server. */
#define RESOLVER_GIVES_UP_NS (10 * NS_PER_S)

static void wait_until(uint64_t until_ns);
static int look_up_address(struct lookup *lookup, const struct fault_params *params);

struct flow *fault_lookup_flow(const struct ruleset *rules, const struct target *target)
{
    if (!rules->fault_count || !faults_are_armed(rules))
        return NULL;
    return flow_begin(rules, target, target->name, FAULT_ON(FAULT_RESOLVE));
}

bool fault_lookup(struct lookup *lookup, struct flow *flow, const char *name, uint64_t until_ns, int *eai)
{
    struct faulted faulted = {.may_wait = true, .may_hang = true, .text = name};
    if (!faults_begin(&faulted, flow, FAULT_RESOLVE, lookup->caller, NULL))
        return false;
    faults_end(&faulted);
    const struct fault_plan *plan = &faulted.plan;
    uint64_t now = clock_now_ns(), due_ns = now + plan->delay_ns;
    if (plan->action == FAULT_SILENCE)
        due_ns = now + RESOLVER_GIVES_UP_NS;
    if (due_ns > now)
        wait_until(due_ns < until_ns ? due_ns : until_ns);
    if (plan->action == FAULT_SILENCE || due_ns >= until_ns)
        *eai = lookup_time_out(lookup);
    else if (plan->action == FAULT_FAIL)
        *eai = lookup_fail(lookup, plan->error);
    else if (plan->action == FAULT_REPLACE)
        *eai = look_up_address(lookup, &flow->faults[plan->last].fault->params);
    else
        return false;
    return true;
}

/* libc makes the answer, of the address in the place of the name. */
static int look_up_address(struct lookup *lookup, const struct fault_params *params)
{
    struct address address;
    memcpy(address.bytes, params->address, sizeof address.bytes);
    struct address_text text = address_text(&address);
    const char *name = lookup->name;
    lookup->name = text.text;
    int eai = lookup_make(lookup);
    lookup->name = name;
    return eai;
}

/* A lookup is not interrupted by signals: handlers run, then it goes on. */
static void wait_until(uint64_t until_ns)
{
    int error = errno;
    sigset_t mask;
    signals_block(&mask);
    while (clock_now_ns() < until_ns && signals_wait(-1, 0, until_ns, &mask) == WAITED_INTERRUPTED)
        ;
    signals_restore(&mask);
    errno = error;
}
