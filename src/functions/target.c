/* Which circuit a call belongs to: that of the host that it names, or that of the function. */
#include <string.h>

#include "base/text.h"
#include "functions/call.h"

static int64_t number_in(const void *argument, enum value_type type);

void call_find_host(struct calling *call)
{
    const struct function *function = call->function;
    const char *text = function->target ? *(const char *const *)call->arguments[function->target - 1] : NULL;
    call->target = (struct target){.name = function->symbol, .protocol = PROTOCOL_TCP};
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
