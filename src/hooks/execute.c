/* The program becomes another one, or makes one: sockets that stay open are no longer ours to watch, so our options come
 * off them; where they cannot, the other program is told. */
#include <alloca.h>
#include <stdarg.h>
#include <stddef.h>
#include <spawn.h>
#include <unistd.h>

#include "drive/inherit.h"
#include "drive/transfer.h"
#include "hooks/export.h"
#include "hooks/real.h"

/* The environment with what is to be told, on the stack: a vfork child has no other memory of its own. */
#define TELL_IN(environment, becoming)                                                                       \
    struct note note;                                                                                        \
    inherit_note(&note, becoming);                                                                           \
    size_t note_count = inherit_count(environment, &note);                                                   \
    if (note_count) {                                                                                        \
        char **with_note = alloca(note_count * sizeof *with_note);                                           \
        inherit_fill(with_note, environment, &note);                                                         \
        environment = with_note;                                                                             \
    }                                                                                                        \
    (void)0

EXPORT int execve(const char *path, char *const arguments[], char *const environment[])
{
    struct handed handed;
    transfer_hand_over_all(&handed);
    TELL_IN(environment, EXECUTED);
    return transfer_take_back(&handed, real.execve(path, arguments, environment));
}

EXPORT int execv(const char *path, char *const arguments[])
{
    return execve(path, arguments, environ);
}

EXPORT int execvpe(const char *file, char *const arguments[], char *const environment[])
{
    struct handed handed;
    transfer_hand_over_all(&handed);
    TELL_IN(environment, EXECUTED);
    return transfer_take_back(&handed, real.execvpe(file, arguments, environment));
}

EXPORT int execvp(const char *file, char *const arguments[])
{
    return execvpe(file, arguments, environ);
}

EXPORT int fexecve(int fd, char *const arguments[], char *const environment[])
{
    struct handed handed;
    transfer_hand_over_all(&handed);
    TELL_IN(environment, EXECUTED);
    return transfer_take_back(&handed, real.fexecve(fd, arguments, environment));
}

EXPORT int execveat(int folder, const char *path, char *const arguments[], char *const environment[],
                    int flags)
{
    struct handed handed;
    transfer_hand_over_all(&handed);
    TELL_IN(environment, EXECUTED);
    return transfer_take_back(&handed, real.execveat(folder, path, arguments, environment, flags));
}

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const arguments[],
                       char *const environment[])
{
    TELL_IN(environment, SPAWNED);
    return real.posix_spawn(pid, path, actions, attributes, arguments, environment);
}

EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const arguments[],
                        char *const environment[])
{
    TELL_IN(environment, SPAWNED);
    return real.posix_spawnp(pid, file, actions, attributes, arguments, environment);
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
