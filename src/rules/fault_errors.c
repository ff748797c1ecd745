/* Which errors a call can have: a fault that gives a program what no kernel ever would tests nothing. */
#include <errno.h>
#include <netdb.h>
#include <string.h>

#include "rules/fault_read.h"
#include "rules/faults.h"

#define CONNECT  FAULT_ON(FAULT_CONNECT)
#define SEND     FAULT_ON(FAULT_SEND)
#define RECV     FAULT_ON(FAULT_RECV)
#define ACCEPT   FAULT_ON(FAULT_ACCEPT)
#define SOCKET   FAULT_ON(FAULT_SOCKET)
#define TRANSFER (SEND | RECV)

/* By the manual pages of connect, send, recv, accept and socket, and those of tcp, udp and unix. EAGAIN and EINPROGRESS are
 * missing: to a program that waits they mean something else. EINTR is of `interrupt`. */
static const struct {
    int error;
    uint32_t operations;
} errors[] = {
    {ECONNREFUSED, CONNECT | TRANSFER},
    {ETIMEDOUT, CONNECT | TRANSFER},
    {EHOSTUNREACH, CONNECT | TRANSFER},
    {ENETUNREACH, CONNECT | TRANSFER},
    {ECONNRESET, CONNECT | TRANSFER},
    {EHOSTDOWN, CONNECT | TRANSFER},
    {ENETDOWN, CONNECT | TRANSFER},
    {EACCES, CONNECT | SEND | SOCKET},
    {EPERM, CONNECT | SEND | ACCEPT},
    {EADDRNOTAVAIL, CONNECT},
    {EADDRINUSE, CONNECT},
    {ENOENT, CONNECT},
    {EPIPE, SEND},
    {EMSGSIZE, SEND},
    {ECONNABORTED, ACCEPT},
    {EPROTO, ACCEPT},
    {EMFILE, ACCEPT | SOCKET},
    {ENFILE, ACCEPT | SOCKET},
    {EAFNOSUPPORT, SOCKET},
    {ENOBUFS, CONNECT | TRANSFER | ACCEPT | SOCKET},
    {ENOMEM, CONNECT | TRANSFER | ACCEPT | SOCKET},
};
#define ERROR_COUNT (sizeof errors / sizeof *errors)

static const struct {
    const char *name;
    int code;
} lookups[] = {
    {"EAI_AGAIN", EAI_AGAIN},   {"EAI_FAIL", EAI_FAIL},     {"EAI_NONAME", EAI_NONAME},
    {"EAI_MEMORY", EAI_MEMORY}, {"EAI_NODATA", EAI_NODATA},
};
#define LOOKUP_COUNT (sizeof lookups / sizeof *lookups)

int eai_by_name(const char *name)
{
    for (size_t i = 0; i < LOOKUP_COUNT; i++)
        if (strcmp(lookups[i].name, name) == 0)
            return lookups[i].code;
    return 0;
}

const char *eai_name(int code)
{
    for (size_t i = 0; i < LOOKUP_COUNT; i++)
        if (lookups[i].code == code)
            return lookups[i].name;
    return NULL;
}

bool fault_error_is_of(enum fault_operation operation, int error)
{
    if (operation == FAULT_RESOLVE)
        return eai_name(error);
    for (size_t i = 0; i < ERROR_COUNT; i++)
        if (errors[i].error == error)
            return errors[i].operations & FAULT_ON(operation);
    return false;
}

void fault_add_errors_of(struct text *text, enum fault_operation operation)
{
    const char *comma = "";
    for (size_t i = 0; operation == FAULT_RESOLVE && i < LOOKUP_COUNT; i++, comma = ", ")
        text_add(text, "%s%s", comma, lookups[i].name);
    for (size_t i = 0; operation != FAULT_RESOLVE && i < ERROR_COUNT; i++) {
        if (!(errors[i].operations & FAULT_ON(operation)))
            continue;
        text_add(text, "%s%s", comma, errno_name(errors[i].error));
        comma = ", ";
    }
}
