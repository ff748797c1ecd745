/* Faults of declared functions. They sit where the function is, innermost: everything else deals with them. */
#include "base/hash.h"
#include "drive/tell.h"
#include "functions/call.h"
#include "state/faults.h"
#include "state/process.h"

#include <string.h>

static bool is_possible(void);
static struct armed_fault *fault_of(const struct calling *call);

bool call_meets_fault(struct calling *call)
{
    const struct fault_params *params = &call->function->faults.params;
    struct binding *binding = call->binding;
    if (!call->function->faults.is_given || !is_possible())
        return false;
    struct armed_fault *fault = fault_of(call);
    if (!fault || !fault_is_armed(fault))
        return false;
    uint64_t number = __atomic_fetch_add(&binding->attempts, 1, __ATOMIC_RELAXED);
    uint64_t target = hash_bytes(binding->symbol, strlen(binding->symbol), 0);
    const struct fault_moment moment = {
        .key = fault_key(params, faults_seed(), faults_process(), target, 0),
        .number = number,
        .ordinal = number,
    };
    if (!fault_fires(params, &moment))
        return false;
    if (!fault_take_turn(fault))
        return false;
    bool is_shadow = fault_is_shadow(fault);
    struct event event = event_about(EVENT_FAULT, call_text(call));
    memcpy(event.fault, fault->name, sizeof event.fault - 1);
    event.event_operation = FAULT_OPERATIONS; /* none of a socket's */
    event.attempts = (uint16_t)(fault_count_site(fault, call->caller, is_shadow) | FAULT_ERROR << 8);
    event.error = call->function->faults.error;
    event.count = (uint32_t)number + 1;
    event.flags = is_shadow ? EVENT_SHADOW : 0;
    tell(&event);
    return !is_shadow;
}

/* Armed, or maybe by hand. */
static bool is_possible(void)
{
    return settings.are_faults_armed || atomic_load_explicit(faults_steered, memory_order_relaxed);
}

/* The rules may have been read again since. */
static struct armed_fault *fault_of(const struct calling *call)
{
    const struct fault_params *params = &call->function->faults.params;
    struct armed_fault *fault = __atomic_load_n(&call->binding->fault, __ATOMIC_ACQUIRE);
    if (fault && fault_is_for(fault, params))
        return fault;
    fault = fault_of_function(call->function->rule.name, params);
    __atomic_store_n(&call->binding->fault, fault, __ATOMIC_RELEASE);
    return fault;
}
