#include "drive/unix.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "drive/options.h"
#include "drive/signals.h"
#include "hooks/real.h"
#include "policy/call.h"

#define EARLY_NS (2 * NS_PER_MS)

static void make_absolute(char path[NAME_MAX_BYTES]);

bool unix_path(const struct sockaddr *address, socklen_t length, char path[NAME_MAX_BYTES])
{
    const struct sockaddr_un *local = (const struct sockaddr_un *)address;
    if (length <= offsetof(struct sockaddr_un, sun_path) || length > sizeof *local)
        return false;
    size_t size = length - offsetof(struct sockaddr_un, sun_path);
    if (local->sun_path[0]) {
        size = strnlen(local->sun_path, size); /* it need not have an end */
    } else {
        /* Any bytes are good in an abstract one. Many programs pass the whole structure: the zeros behind the name are a
         * part of it that nobody would write into a rule. */
        while (size > 1 && !local->sun_path[size - 1])
            size--;
    }
    for (size_t i = 0; i < size; i++)
        path[i] = local->sun_path[i] ? local->sun_path[i] : '@';
    path[size] = '\0';
    if (path[0] != '/' && path[0] != '@')
        make_absolute(path);
    return true;
}

/* Where that would not fit it stays as it is. */
static void make_absolute(char path[NAME_MAX_BYTES])
{
    char folder[NAME_MAX_BYTES];
    int error = errno;
    long size = syscall(SYS_getcwd, folder, sizeof folder); /* with the zero behind it */
    errno = error;
    const char *name = strncmp(path, "./", 2) == 0 ? path + 2 : path;
    size_t length = strlen(name);
    if (size <= 0 || folder[0] != '/' || (size_t)size + length + 1 > NAME_MAX_BYTES)
        return;
    size_t folder_length = (size_t)size - 1;
    if (folder_length > 1) /* not the root */
        folder[folder_length++] = '/';
    memmove(path + folder_length, name, length + 1);
    memcpy(path, folder, folder_length);
}

struct attempt unix_attempt(struct connecting *call, uint64_t until_ns, const sigset_t *mask)
{
    for (;;) {
        uint64_t now = clock_now_ns();
        uint64_t left = until_ns == NEVER ? 0 : until_ns > now ? until_ns - now : 1;
        if (left)
            attempt_set_send_option(call, shorter(left, call->own_send_ns));
        sigset_t blocked;
        if (mask)
            pthread_sigmask(SIG_SETMASK, mask, &blocked);
        int result = real.connect(call->fd, call->tried, call->tried_length), error = errno;
        if (mask)
            pthread_sigmask(SIG_SETMASK, &blocked, NULL);
        if (result == 0)
            return (struct attempt){ENDED, 0};
        if (error == EAGAIN) {
            bool is_ours = left && (!call->own_send_ns || call->own_send_ns >= left);
            bool is_early = clock_now_ns() + EARLY_NS < now + left; /* then it does not block */
            return is_ours && !is_early ? (struct attempt){ENDED_CUT, ETIMEDOUT}
                                        : (struct attempt){ENDED_OWN_TIMEOUT, EAGAIN};
        }
        if (error != EINTR)
            return (struct attempt){ENDED, error};
        /* Without SO_SNDTIMEO the kernel would have restarted the call, unless the program asked it not to. */
        if (!left || call->own_send_ns || !signals_all_restart())
            return (struct attempt){ENDED_INTERRUPTED, EINTR};
        if (clock_now_ns() >= until_ns)
            return (struct attempt){ENDED_CUT, ETIMEDOUT};
    }
}
