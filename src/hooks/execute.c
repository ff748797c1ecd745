/* The program becomes another one: sockets that stay open are no longer ours to watch, so our options come off them. */
#include <alloca.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include "drive/transfer.h"
#include "hooks/export.h"
#include "hooks/real.h"

EXPORT int execve(const char *path, char *const arguments[], char *const environment[])
{
    struct handed handed;
    transfer_hand_over_all(&handed);
    return transfer_take_back(&handed, real.execve(path, arguments, environment));
}

EXPORT int execv(const char *path, char *const arguments[])
{
    struct handed handed;
    transfer_hand_over_all(&handed);
    return transfer_take_back(&handed, real.execv(path, arguments));
}

EXPORT int execvp(const char *file, char *const arguments[])
{
    struct handed handed;
    transfer_hand_over_all(&handed);
    return transfer_take_back(&handed, real.execvp(file, arguments));
}

EXPORT int execvpe(const char *file, char *const arguments[], char *const environment[])
{
    struct handed handed;
    transfer_hand_over_all(&handed);
    return transfer_take_back(&handed, real.execvpe(file, arguments, environment));
}

EXPORT int fexecve(int fd, char *const arguments[], char *const environment[])
{
    struct handed handed;
    transfer_hand_over_all(&handed);
    return transfer_take_back(&handed, real.fexecve(fd, arguments, environment));
}

EXPORT int execveat(int folder, const char *path, char *const arguments[], char *const environment[],
                    int flags)
{
    struct handed handed;
    transfer_hand_over_all(&handed);
    return transfer_take_back(&handed, real.execveat(folder, path, arguments, environment, flags));
}

/* The arguments one by one, in a vector on the stack: as libc does it, and like it without malloc. */
#define VECTOR_OF(first, last)                                                                               \
    va_list counted, taken;                                                                                  \
    size_t count = 1;                                                                                        \
    va_start(taken, first);                                                                                  \
    va_copy(counted, taken);                                                                                 \
    while (va_arg(counted, char *))                                                                          \
        count++;                                                                                             \
    va_end(counted);                                                                                         \
    char **arguments = alloca((count + 1) * sizeof *arguments);                                              \
    arguments[0] = (char *)first;                                                                            \
    for (size_t i = 1; i <= count; i++)                                                                      \
        arguments[i] = va_arg(taken, char *);                                                                \
    last;                                                                                                    \
    va_end(taken)

EXPORT int execl(const char *path, const char *first, ...)
{
    VECTOR_OF(first, (void)0);
    return execv(path, arguments);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
    VECTOR_OF(first, (void)0);
    return execvp(file, arguments);
}

EXPORT int execle(const char *path, const char *first, ...)
{
    char **environment;
    VECTOR_OF(first, environment = va_arg(taken, char **));
    return execve(path, arguments, environment);
}
