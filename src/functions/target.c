/* Which circuit a call belongs to: that of the host that it names, or that of the function. */
#include <string.h>

#include "base/text.h"
#include "functions/call.h"

_Static_assert((HOSTS_MAX & (HOSTS_MAX - 1)) == 0, "a place is kept in the lowest bits of a word");

static struct host_handle find_own(struct calling *call);
static int64_t number_in(const void *argument, enum value_type type);

void call_find_host(struct calling *call)
{
    const struct function *function = call->function;
    call->target = (struct target){.name = function->symbol, .protocol = PROTOCOL_TCP};
    if (!function->target) {
        call->host = find_own(call);
        return;
    }
    const char *text = *(const char *const *)call->arguments[function->target - 1];
    if (text && strnlen(text, FUNCTION_TARGET_BYTES_MAX) < FUNCTION_TARGET_BYTES_MAX) {
        char host[100];
        uint16_t port = 0;
        if (function_target_parse(text, host, sizeof host, &port)) {
            struct text name = text_begin(call->name, sizeof call->name);
            text_add(&name, "%s %s", function->symbol, host);
            call->target.name = call->name;
            call->target.port = port;
        }
        if (function->port && !port) {
            int64_t number =
                number_in(call->arguments[function->port - 1], function->arguments[function->port - 1]);
            call->target.port = number > 0 && number <= UINT16_MAX ? (uint16_t)number : 0;
        }
    }
    call->host = hosts_find(&function->rule, &call->target, call->begun_ns);
}

/* The function has one circuit only, so that its place need not be looked for each time: it is kept in one word with what
 * it was found for, and good as long as the place still has the key that was found in it. */
static struct host_handle find_own(struct calling *call)
{
    struct binding *binding = call->binding;
    const struct rule *rule = &call->function->rule;
    struct segment *segment = segment_current;
    const uint64_t places = HOSTS_MAX - 1;
    uint64_t wanted = (rule->identity ^ rule->breaker_params_hash) & ~places;
    uint64_t known = __atomic_load_n(&binding->host_known, __ATOMIC_ACQUIRE);
    struct host_handle handle = {.key = __atomic_load_n(&binding->host_key, __ATOMIC_RELAXED)};
    if (segment && handle.key && (known & ~places) == wanted) {
        handle.host = &segment->hosts[known & places];
        if (atomic_load_explicit(&handle.host->key, memory_order_acquire) == handle.key) {
            atomic_store_explicit(&handle.host->used_ns, call->begun_ns, memory_order_relaxed);
            return handle;
        }
    }
    handle = hosts_find(rule, &call->target, call->begun_ns);
    if (!handle.host)
        return handle;
    __atomic_store_n(&binding->host_key, handle.key, __ATOMIC_RELAXED);
    __atomic_store_n(&binding->host_known, wanted | (uint64_t)(handle.host - segment_current->hosts),
                     __ATOMIC_RELEASE);
    return handle;
}

const char *call_text(struct calling *call)
{
    if (!call->text[0])
        target_text(&call->target, call->text, sizeof call->text);
    return call->text;
}

static int64_t number_in(const void *argument, enum value_type type)
{
    uint64_t bits = 0;
    memcpy(&bits, argument, value_type_bytes(type)); /* the lower bytes come first */
    return (int64_t)bits;
}
