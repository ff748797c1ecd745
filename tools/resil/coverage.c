#include "coverage.h"

#include <string.h>

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

enum { WAITS = 3 };

const struct coverage coverage_table[] = {
    {"connections", COVERED, "timeouts, retries and circuits", NAMES("connect")},
    {"lookups", COVERED, "timeouts and retries",
     NAMES("getaddrinfo", "gethostbyname", "gethostbyname2", "gethostbyname_r", "gethostbyname2_r")},
    {"data", COVERED, "send, recv and response timeouts",
     NAMES("send", "sendto", "sendmsg", "sendmmsg", "recv", "recvfrom", "recvmsg", "recvmmsg", "read",
           "readv", "write", "writev", "sendfile", "sendfile64", "splice", "__read_chk", "__recv_chk",
           "__recvfrom_chk")},
    [WAITS] = {"waits", COVERED,
               "connections that the program waits for here, instead of blocking in them, get their timeouts "
               "and retries here",
               NAMES("poll", "ppoll", "__poll_chk", "__ppoll_chk", "select", "pselect", "epoll_wait",
                     "epoll_pwait", "epoll_pwait2", "epoll_ctl")},
    {"streams", COVERED_PARTLY,
     "stdio reads and writes by itself, so a socket that becomes a stream has its timeouts taken off; "
     "connecting it is covered",
     NAMES("fdopen")},
    {"raw calls", COVERED_PARTLY, "what the program asks of the kernel through syscall() is not seen",
     NAMES("syscall")},
    {"io_uring", COVERED_NOT, "connections and data that go through io_uring are not seen",
     NAMES("io_uring_queue_init", "io_uring_queue_init_params", "io_uring_queue_init_mem", "io_uring_setup",
           "io_uring_submit", "io_uring_submit_and_wait", "io_uring_enter", "io_uring_get_sqe")},
    {"own lookups", COVERED_NOT, "name servers that the program asks by itself are not seen",
     NAMES("res_query", "res_search", "res_nquery", "res_nsearch", "res_send", "res_nsend", "getaddrinfo_a",
           "gethostbyaddr", "gethostbyaddr_r", "ares_getaddrinfo", "ares_gethostbyname", "ares_query")},
    {"functions by name", COVERED_PARTLY,
     "what dlsym finds from RTLD_DEFAULT is covered, what it finds in a handle of libc is not",
     NAMES("dlsym", "dlvsym")},
    {"later libraries", COVERED, "what is loaded while the program runs is not in this list; --run shows it",
     NAMES("dlopen", "dlmopen")},
    {"children", COVERED_PARTLY,
     "programs that it starts are covered too, but a socket that vfork or posix_spawn hands to one keeps the "
     "timeouts of its rule",
     NAMES("vfork", "posix_spawn", "posix_spawnp")},
    {"bookkeeping", COVERED, "what a descriptor stands for is known", NULL},
};
const size_t coverage_count = sizeof coverage_table / sizeof coverage_table[0];

static bool is_among(const char *const *names, const char *name)
{
    for (; *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

int coverage_find(const char *function)
{
    for (size_t i = 0; i < coverage_count; i++)
        if (coverage_table[i].functions ? is_among(coverage_table[i].functions, function)
                                        : coverage_is_hooked(function))
            return (int)i;
    return -1;
}

bool coverage_is_hooked(const char *function)
{
    static const char *const hooks[] = {
#define HOOK(result, name, parameters, arguments, absent)  #name,
#define HOOK_VARIADIC(result, name, first, second, absent) #name,
#define HOOK_LIST(result, name, absent)                    #name,
#include "hooks/hooks.def"
#undef HOOK
#undef HOOK_VARIADIC
#undef HOOK_LIST
        NULL};
    return is_among(hooks, function);
}

const char *covered_text(enum covered covered)
{
    return covered == COVERED ? "covered" : covered == COVERED_PARTLY ? "in part" : "not seen";
}

const char *coverage_of_waits(void)
{
    return coverage_table[WAITS].covered == COVERED ? NULL : coverage_table[WAITS].text;
}

bool coverage_is_wait(const char *function)
{
    return is_among(coverage_table[WAITS].functions, function) && strcmp(function, "epoll_ctl") != 0;
}
