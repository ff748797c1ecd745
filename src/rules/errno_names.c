#include <errno.h>
#include <string.h>

#include "rules/errno_names.h"
#include "rules/rules.h"

/* `is_of_connect`: a connect over a network can return it, so a program is prepared for it. EAGAIN and EINPROGRESS
 * are missing on purpose: a blocking connect does not return them, and a non-blocking one means something else. */
static const struct {
    const char *name;
    int error;
    bool is_of_connect;
} names[] = {
#define NAME(error, is_of_connect)                                                                           \
    {                                                                                                        \
#error, error, is_of_connect                                                                         \
    }
    NAME(ECONNREFUSED, true),  NAME(ETIMEDOUT, true),      NAME(EHOSTUNREACH, true),  NAME(ENETUNREACH, true),
    NAME(ECONNRESET, true),    NAME(EHOSTDOWN, true),      NAME(ENETDOWN, true),      NAME(EACCES, true),
    NAME(EPERM, true),         NAME(EAGAIN, false),        NAME(EINPROGRESS, false),  NAME(EALREADY, false),
    NAME(EINTR, false),        NAME(ECONNABORTED, false),  NAME(ENOTCONN, false),     NAME(EISCONN, false),
    NAME(EPIPE, false),        NAME(ENOENT, false),        NAME(ENOTDIR, false),      NAME(EISDIR, false),
    NAME(ELOOP, false),        NAME(ENAMETOOLONG, false),  NAME(ENXIO, false),        NAME(EIO, false),
    NAME(EADDRINUSE, false),   NAME(EADDRNOTAVAIL, false), NAME(EAFNOSUPPORT, false), NAME(EPROTOTYPE, false),
    NAME(EPROTO, false),       NAME(ENOPROTOOPT, false),   NAME(EOPNOTSUPP, false),   NAME(EINVAL, false),
    NAME(EFAULT, false),       NAME(EBADF, false),         NAME(ENOTSOCK, false),     NAME(EMFILE, false),
    NAME(ENFILE, false),       NAME(ENOBUFS, false),       NAME(ENOMEM, false),       NAME(EBUSY, false),
    NAME(EDESTADDRREQ, false), NAME(EMSGSIZE, false),      NAME(ESHUTDOWN, false),    NAME(ENONET, false),
    NAME(EEXIST, false),       NAME(ENOSYS, false),        NAME(ENOSPC, false),       NAME(EROFS, false),
    NAME(ENODEV, false),       NAME(EFBIG, false),         NAME(EOVERFLOW, false),    NAME(ESTALE, false),
#undef NAME
};

int errno_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].error;
    return 0;
}

const char *errno_name(int error)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].error == error)
            return names[i].name;
    return NULL;
}

bool errno_is_of_connect(int error)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].error == error)
            return names[i].is_of_connect;
    return false;
}

void errno_add_names_of_connect(struct text *text)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].is_of_connect)
            text_add(text, "%s%s", i ? ", " : "", names[i].name);
}
