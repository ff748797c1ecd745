/* Faults of declared functions. They sit where the function is, innermost: everything else deals with them. */
#include "base/hash.h"
#include "drive/tell.h"
#include "functions/call.h"
#include "state/faults.h"
#include "state/process.h"

#include <string.h>

bool call_meets_fault(struct calling *call)
{
    const struct fault_params *params = &call->function->faults.params;
    struct binding *binding = call->binding;
    if (!call->function->faults.is_given || !settings.are_faults_armed)
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
    if (params->times && __atomic_fetch_add(&binding->faults, 1, __ATOMIC_RELAXED) >= params->times)
        return false;
    struct event event = event_about(EVENT_FAULT, call_text(call));
    memcpy(event.fault, call->function->rule.name,
           strnlen(call->function->rule.name, sizeof event.fault - 1));
    event.event_operation = FAULT_OPERATIONS; /* none of a socket's */
    event.error = call->function->faults.error;
    event.count = (uint32_t)number + 1;
    tell(&event);
    return true;
}
