/* What an outcome costs when two processes report to the breaker of one host at the same time. Prints ns per outcome.
 *
 *     bench_contend [outcomes of each] */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "state/breakers.h"

static void report(struct host_handle handle, const struct breaker_params *params, unsigned long outcomes)
{
    uint64_t now = clock_now_ns();
    struct breaker_ticket ticket = breakers_admit(handle, params, now).ticket;
    for (unsigned long i = 0; i < outcomes; i++)
        breakers_ended(handle, params, ticket, i & 1 ? BREAKER_SUCCESS : BREAKER_FAILURE, i, now, NULL);
}

int main(int argc, char **argv)
{
    unsigned long outcomes = argc > 1 ? strtoul(argv[1], NULL, 10) : 5000000;
    struct breaker_params params = {.failure_threshold = 255, .recovery_timeout_ns = NS_PER_S};
    struct host *host = mmap(NULL, sizeof *host, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (host == MAP_FAILED)
        return 2;
    atomic_store(&host->key, 1);
    struct host_handle handle = {.host = host, .key = 1};
    uint64_t begun_ns = clock_now_ns();
    pid_t child = fork();
    report(handle, &params, outcomes);
    if (child == 0)
        _exit(0);
    if (child > 0)
        waitpid(child, NULL, 0);
    uint64_t took_ns = clock_now_ns() - begun_ns;
    printf("%lu ns per outcome, two processes at once\n", (unsigned long)(took_ns / outcomes));
    return 0;
}
