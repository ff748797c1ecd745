/* Functions that are never wrapped: what they do depends on who calls them and how, or everything rests on them. */
#include <stddef.h>
#include <string.h>

#include "rules/function_reader.h"

/* All that src/hooks exports: a test holds them to each other. */
static const char *const hooked_names[] = {
    "__poll_chk", "__ppoll_chk", "__read_chk", "__recv_chk", "__recvfrom_chk", "accept", "accept4", "close",
    "close_range", "closefrom", "connect", "dup", "dup2", "dup3", "epoll_ctl", "epoll_pwait", "epoll_pwait2",
    "epoll_wait", "execv", "execve", "execveat", "execvp", "execvpe", "fclose", "fdopen", "fexecve",
    "freeaddrinfo", "freopen", "freopen64", "getaddrinfo", "gethostbyname", "gethostbyname2",
    "gethostbyname2_r", "gethostbyname_r", "getpeername", "getsockopt", "poll", "posix_spawn", "posix_spawnp",
    "ppoll", "pselect", "read", "readv", "recv", "recvfrom", "recvmmsg", "recvmsg", "resil_degraded",
    "resil_last", "select", "send", "sendfile", "sendfile64", "sendmmsg", "sendmsg", "sendto", "setsockopt",
    "shutdown", "socket", "socketpair", "splice", "write", "writev", NULL};

static const char *const variadic_names[] = {
    "curl_easy_setopt", "curl_easy_getinfo", "curl_multi_setopt", "curl_share_setopt", "redisCommand",
    "redisAppendCommand", "redisAsyncCommand", "printf", "fprintf", "sprintf", "snprintf", "dprintf",
    "asprintf", "scanf", "sscanf", "fscanf", "syslog", "open", "open64", "openat", "openat64", "fcntl",
    "fcntl64", "ioctl", "syscall", "prctl", "semctl", "execl", "execlp", "execle", "BIO_printf",
    "sqlite3_config", "sqlite3_mprintf", "mysql_optionsv", NULL};

static const char *const frame_names[] = {
    "setjmp", "_setjmp", "sigsetjmp", "__sigsetjmp", "longjmp", "siglongjmp", "_longjmp", "__longjmp_chk",
    "vfork", "fork", "_Fork", "clone", "getcontext", "setcontext", "swapcontext", "makecontext", NULL};

static const char *const never_names[] = {
    "exit", "_exit", "_Exit", "quick_exit", "abort", "pthread_exit", "__assert_fail", "__cxa_throw",
    "_Unwind_Resume", NULL};

static const char *const memory_names[] = {
    "malloc", "calloc", "realloc", "free", "memcpy", "memmove", "memset", "strlen", "strcmp", "mmap",
    "munmap", "mprotect", "__tls_get_addr", "clock_gettime", "__errno_location", "pthread_self",
    "sigprocmask", "pthread_sigmask", NULL};

static const char *const loader_names[] = {
    "dlopen", "dlmopen", "dlsym", "dlvsym", "dlclose", "dl_iterate_phdr", "dladdr", NULL};

static const struct {
    const char *const *names;
    const char *why;
} refused[] = {
    {hooked_names, "libresil stands in front of it already (write a rule for where it leads to)"},
    {variadic_names, "it takes a variable number of arguments, and nobody knows what was passed"},
    {frame_names, "it returns to where it was called from in a way that nobody may stand in between"},
    {never_names, "it does not return, so there is nothing to judge"},
    {memory_names, "every other function needs it, ours too"},
    {loader_names, "what it does depends on who calls it"},
};

const char *function_refused(const char *symbol)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        for (const char *const *name = refused[i].names; *name; name++)
            if (strcmp(*name, symbol) == 0)
                return refused[i].why;
    return NULL;
}
