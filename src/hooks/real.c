#include "hooks/real.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>

/* Until looked up: look up, then go on. */
#define HOOK(result, name, parameters, arguments, absent)                                                    \
    static result first_##name parameters                                                                    \
    {                                                                                                        \
        real_look_up();                                                                                      \
        return real.name arguments;                                                                          \
    }
#define HOOK_VARIADIC(result, name, first, second, absent)                                                   \
    static result first_##name(first fd, second command, ...)                                                \
    {                                                                                                        \
        va_list arguments;                                                                                   \
        va_start(arguments, command);                                                                        \
        void *argument = va_arg(arguments, void *);                                                          \
        va_end(arguments);                                                                                   \
        real_look_up();                                                                                      \
        return real.name(fd, command, argument);                                                             \
    }
#define HOOK_LIST(result, name, absent)
#include "hooks/hooks.def"
#undef HOOK
#undef HOOK_VARIADIC
#undef HOOK_LIST

/* Where libc has no such function. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define HOOK(result, name, parameters, arguments, absent)                                                    \
    static result absent_##name parameters                                                                   \
    {                                                                                                        \
        errno = ENOSYS;                                                                                      \
        return absent;                                                                                       \
    }
#define HOOK_VARIADIC(result, name, first, second, absent)                                                   \
    static result absent_##name(first fd, second command, ...)                                               \
    {                                                                                                        \
        errno = ENOSYS;                                                                                      \
        return absent;                                                                                       \
    }
#define HOOK_LIST(result, name, absent)
#include "hooks/hooks.def"
#undef HOOK
#undef HOOK_VARIADIC
#undef HOOK_LIST
#pragma GCC diagnostic pop

struct real real = {
#define HOOK(result, name, parameters, arguments, absent)  .name = first_##name,
#define HOOK_VARIADIC(result, name, first, second, absent) .name = first_##name,
#define HOOK_LIST(result, name, absent)
#include "hooks/hooks.def"
#undef HOOK
#undef HOOK_VARIADIC
#undef HOOK_LIST
};

void real_look_up(void)
{
    int error = errno;
    const char *single_threaded = dlsym(RTLD_DEFAULT, "__libc_single_threaded");
    if (single_threaded)
        __atomic_store_n(&process_single_threaded, single_threaded, __ATOMIC_RELEASE);
        /* Each store is one word and always the same one, so threads may race here; a call that comes in between still
     * finds a pointer that works. */
#define HOOK(result, name, parameters, arguments, absent)                                                    \
    {                                                                                                        \
        void *found = dlsym(RTLD_NEXT, #name);                                                               \
        __atomic_store_n((uintptr_t *)&real.name, (uintptr_t)(found ? found : (void *)absent_##name),        \
                         __ATOMIC_RELEASE);                                                                  \
    }
#define HOOK_VARIADIC(result, name, first, second, absent) HOOK(result, name, , , absent)
#define HOOK_LIST(result, name, absent)
#include "hooks/hooks.def"
#undef HOOK
#undef HOOK_VARIADIC
#undef HOOK_LIST
    errno = error;
}
