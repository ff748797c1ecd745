/* Functions that are never wrapped: what they do depends on who calls them and how, or everything rests on them. */
#include <stddef.h>
#include <string.h>

#include "rules/function_reader.h"

static const char variadic[] = "it takes a variable number of arguments, and nobody knows what was passed";
static const char frame[] =
    "it returns to where it was called from in a way that nobody may stand in between";
static const char memory[] = "every other function needs it, ours too";
static const char loader[] = "what it does depends on who calls it";

static const char hooked[] = "libresil stands in front of it already (write a rule for where it leads to)";

static const struct {
    const char *symbol, *why;
} refused[] = {
    {"connect", hooked},
    {"send", hooked},
    {"sendto", hooked},
    {"sendmsg", hooked},
    {"recv", hooked},
    {"recvfrom", hooked},
    {"recvmsg", hooked},
    {"read", hooked},
    {"write", hooked},
    {"close", hooked},
    {"poll", hooked},
    {"select", hooked},
    {"epoll_wait", hooked},
    {"socket", hooked},
    {"accept", hooked},
    {"getaddrinfo", hooked},
    {"gethostbyname", hooked},
    {"gethostbyname_r", hooked},
    {"curl_easy_setopt", variadic},
    {"curl_easy_getinfo", variadic},
    {"curl_multi_setopt", variadic},
    {"curl_share_setopt", variadic},
    {"redisCommand", variadic},
    {"redisAppendCommand", variadic},
    {"redisAsyncCommand", variadic},
    {"printf", variadic},
    {"fprintf", variadic},
    {"sprintf", variadic},
    {"snprintf", variadic},
    {"scanf", variadic},
    {"sscanf", variadic},
    {"fscanf", variadic},
    {"syslog", variadic},
    {"open", variadic},
    {"openat", variadic},
    {"fcntl", variadic},
    {"ioctl", variadic},
    {"syscall", variadic},
    {"execl", variadic},
    {"execlp", variadic},
    {"execle", variadic},
    {"BIO_printf", variadic},
    {"sqlite3_config", variadic},
    {"sqlite3_mprintf", variadic},
    {"mysql_optionsv", variadic},
    {"setjmp", frame},
    {"_setjmp", frame},
    {"sigsetjmp", frame},
    {"__sigsetjmp", frame},
    {"longjmp", frame},
    {"siglongjmp", frame},
    {"_longjmp", frame},
    {"vfork", frame},
    {"getcontext", frame},
    {"swapcontext", frame},
    {"makecontext", frame},
    {"clone", frame},
    {"malloc", memory},
    {"calloc", memory},
    {"realloc", memory},
    {"free", memory},
    {"memcpy", memory},
    {"memset", memory},
    {"mmap", memory},
    {"munmap", memory},
    {"mprotect", memory},
    {"__tls_get_addr", memory},
    {"clock_gettime", memory},
    {"__errno_location", memory},
    {"dlopen", loader},
    {"dlmopen", loader},
    {"dlsym", loader},
    {"dlvsym", loader},
    {"dlclose", loader},
    {"dl_iterate_phdr", loader},
};

const char *function_refused(const char *symbol)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (strcmp(refused[i].symbol, symbol) == 0)
            return refused[i].why;
    return NULL;
}
