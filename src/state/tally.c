#include "state/tally.h"

#include "base/clock.h"
#include "state/alone.h"

_Alignas(64) HOT struct tally tally = {.count = 0};

static void count(struct host_handle host, const struct breaker_params *breaker, uint64_t coarse_ns,
                  uint32_t more);

void tally_add(struct host_handle host, const struct breaker_params *breaker)
{
    if (!process_is_alone()) {
        count(host, breaker, clock_coarse_ns(), 1);
        return;
    }
    if (tally.tick_ns == tally.begun_ns && tally.host.host == host.host && tally.host.key == host.key &&
        tally.breaker == breaker) {
        tally.count++;
        return;
    }
    tally_settle();
    tally.host = host;
    tally.breaker = breaker;
    tally.tick_ns = clock_coarse_ns();
    count(host, breaker, tally.tick_ns, 1);
}

void tally_count(void)
{
    uint32_t more = tally.count;
    tally.count = 0;
    count(tally.host, tally.breaker, clock_coarse_ns(), more);
}

void tally_forked(void)
{
    tally.count = 0;
}

static void count(struct host_handle host, const struct breaker_params *breaker, uint64_t coarse_ns,
                  uint32_t more)
{
    if (!host.host)
        return;
    atomic_fetch_add_explicit(&host.host->counts[HOST_ANSWERED], more, memory_order_relaxed);
    if (breaker)
        breakers_succeeded(host, breaker, more, coarse_ns);
}

__attribute__((destructor)) static void end(void)
{
    tally_settle();
}
