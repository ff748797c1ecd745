#include "watch.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>

#include "base/clock.h"

static volatile sig_atomic_t is_interrupted;

static void interrupt(int number);

void watch_begin(void)
{
    struct sigaction action = {.sa_handler = interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* noticed as an error: a reader who has enough is no failure of ours */
}

bool watch_on(uint64_t wait_ns)
{
    if (is_interrupted || fflush(stdout) != 0)
        return false;
    struct pollfd output = {.fd = fileno(stdout)};
    uint64_t until_ns = clock_now_ns() + wait_ns;
    for (uint64_t now_ns; !is_interrupted && (now_ns = clock_now_ns()) < until_ns;)
        if (poll(&output, 1, (int)((until_ns - now_ns) / NS_PER_MS) + 1) > 0)
            return false;
    return !is_interrupted;
}

bool watch_is_over(void)
{
    return is_interrupted;
}

static void interrupt(int number)
{
    (void)number;
    is_interrupted = 1;
}
