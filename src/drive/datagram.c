#include "drive/datagram.h"

#include <errno.h>

#include "drive/fault_connect.h"
#include "drive/options.h"
#include "drive/throttle.h"
#include "drive/transfer.h"
#include "hooks/real.h"

int datagram_connect(struct connecting *call)
{
    const struct policy *policy = &call->rule->policy;
    if ((call->flow ? fault_connect(call) : real.connect(call->fd, call->address, call->length)) != 0) {
        /* Nothing was sent: no route, no permission, no such descriptor. */
        int error = errno;
        host_count(call->host, HOST_FAILED);
        throttle_leave(call);
        if (policy->breaker.is_on)
            connect_report(call->host, call->text, &policy->breaker.params, policy->breaker.error,
                           call->ticket, BREAKER_NEUTRAL, call->seed, false);
        errno = error;
        return -1;
    }
    host_count(call->host, HOST_CONNECTED);
    call->own_send_ns = call->is_fresh || !call->is_blocking ? 0 : option_get_timeout(call->fd, SO_SNDTIMEO);
    if (policy->timeout.send_ns && call->is_blocking)
        option_set_timeout(call->fd, SO_SNDTIMEO, shorter(policy->timeout.send_ns, call->own_send_ns));
    transfer_adopt(call, policy->breaker.is_on);
    return 0;
}
