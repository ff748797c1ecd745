#include "hosts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "message.h"
#include "policy/random.h"
#include "printable.h"
#include "state/breakers.h"

#define TIME_BITS 37 /* of the milliseconds that a breaker word keeps (policy/breaker.h) */
#define LONGEST_OPEN_MS                                                                                      \
    (25 * 3600000ull) /* a rule may say 24 h; what is further off is damage, and counts as due */

static bool read_host(const struct host *host, uint64_t now_ns, struct host_view *view);
static uint64_t left_ns(uint64_t until_ns, uint64_t now_ns);
static bool is_let_through(const struct host_view *host);
static int by_need(const void *a, const void *b);

struct host_list hosts_list(const struct segment *segment)
{
    struct host_list list = {.hosts = allocate(HOSTS_MAX * sizeof *list.hosts)};
    uint64_t now_ns = clock_now_ns();
    for (unsigned i = 0; i < HOSTS_MAX; i++)
        if (read_host(&segment->hosts[i], now_ns, &list.hosts[list.count]))
            list.count++;
    qsort(list.hosts, list.count, sizeof *list.hosts, by_need);
    return list;
}

void hosts_end(struct host_list *list)
{
    free(list->hosts);
    *list = (struct host_list){.count = 0};
}

struct host_state_text host_state_text(const struct host_view *host)
{
    struct host_state_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    const char *state = breaker_state_name(host->breaker.state);
    uint64_t step = host->left_ns >= NS_PER_S ? 100 * NS_PER_MS : NS_PER_MS; /* nobody reads more digits */
    if (host->steering != STEERING_AUTO)
        text_add(&text, "held %s", host->steering == STEERING_OPEN ? "open" : "closed");
    else if (host->breaker.state == BREAKER_CLOSED)
        text_add(&text, "%s", state);
    else if (host->left_ns == 0)
        text_add(&text, "%s, probe due", state);
    else if (host->breaker.state == BREAKER_OPEN)
        text_add(&text, "%s, probe in %s", state,
                 duration_text((host->left_ns + step - 1) / step * step).text);
    else if (host->probe_pid)
        text_add(&text, "%s, probe by pid %u", state, host->probe_pid);
    else
        text_add(&text, "%s, probe under way", state);
    return result;
}

struct host_served_text host_served_text(const struct host_view *host)
{
    static const char *const rungs[RUNG_KINDS] = {
        [RUNG_HOST] = "a fallback host",    [RUNG_STALE] = "the last good answer",
        [RUNG_RESPOND] = "a canned answer", [RUNG_ADDRESSES] = "the rule's addresses",
        [RUNG_ERROR] = "nothing any more",
    };
    struct host_served_text result = {""};
    if (host->served.rung != RUNG_FULL)
        snprintf(result.text, sizeof result.text, "served by %s %s ago", rungs[host->served.rung],
                 duration_text(host->served.ago_ms * NS_PER_MS).text);
    return result;
}

const char *host_count_name(unsigned count)
{
    static const char *const names[] = {
#define COUNT(name, text, help) text,
        HOST_COUNTS(COUNT)
#undef COUNT
    };
    return count < HOST_COUNT_KINDS ? names[count] : "unknown";
}

struct host_count_label host_count_label(unsigned count)
{
    struct host_count_label label;
    snprintf(label.text, sizeof label.text, "%s", host_count_name(count));
    for (char *at = label.text; *at; at++)
        if (*at == '_')
            *at = ' ';
    return label;
}

const char *host_latency_name(unsigned kind)
{
    static const char *const names[] = {
#define LATENCY(name, text, help) text,
        LATENCIES(LATENCY)
#undef LATENCY
    };
    return kind < LATENCY_KINDS ? names[kind] : "unknown";
}

const char *host_latency_help(unsigned kind)
{
    static const char *const helps[] = {
#define LATENCY(name, text, help) help,
        LATENCIES(LATENCY)
#undef LATENCY
    };
    return kind < LATENCY_KINDS ? helps[kind] : "";
}

struct host_quantiles host_quantiles(const uint64_t counts[LATENCY_BUCKETS], uint64_t sum_ns)
{
    struct host_quantiles quantiles = {.median_ns = latency_quantile_ns(counts, sum_ns, PPM_ONE / 2),
                                       .p99_ns = latency_quantile_ns(counts, sum_ns, PPM_ONE / 100 * 99)};
    for (unsigned bucket = 0; bucket < LATENCY_BUCKETS; bucket++)
        quantiles.count += counts[bucket];
    return quantiles;
}

/* False when nobody used it. */
static bool read_host(const struct host *host, uint64_t now_ns, struct host_view *view)
{
    if (atomic_load_explicit(&host->key, memory_order_acquire) == 0)
        return false;
    bool is_used = false;
    for (unsigned i = 0; i < HOST_COUNT_KINDS; i++) {
        view->counts[i] = atomic_load_explicit(&host->counts[i], memory_order_relaxed);
        is_used |= view->counts[i] != 0;
    }
    for (unsigned kind = 0; kind < LATENCY_KINDS; kind++) {
        const struct latency_words *words = &host->latencies[kind];
        for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
            view->latencies[kind][i] = atomic_load_explicit(&words->counts[i], memory_order_relaxed);
        view->latency_sums_ns[kind] = atomic_load_explicit(&words->sum_ns, memory_order_relaxed);
    }
    view->spared_ns = atomic_load_explicit(&host->spared_ns, memory_order_relaxed);
    view->breaker = breaker_view(atomic_load_explicit(&host->breaker, memory_order_relaxed));
    if (!is_used && view->breaker.state == BREAKER_CLOSED && breakers_steering(host) == STEERING_AUTO)
        return false;
    uint64_t used_ns = atomic_load_explicit(&host->used_ns, memory_order_relaxed);
    view->idle_ns = used_ns < now_ns ? now_ns - used_ns : 0;
    view->left_ns = view->breaker.state == BREAKER_CLOSED ? 0 : left_ns(view->breaker.until_ns, now_ns);
    view->host = host;
    view->probe_pid = breakers_probe_holder(host);
    view->steering = breakers_steering(host);
    view->served = served_last(host, now_ns);
    printable_field(view->target, host->target, sizeof host->target);
    printable_field(view->rule, host->rule, sizeof host->rule);
    return true;
}

static uint64_t left_ns(uint64_t until_ns, uint64_t now_ns)
{
    if (until_ns == 0)
        return 0;
    uint64_t left_ms = (until_ns / NS_PER_MS - now_ns / NS_PER_MS) & ((1ull << TIME_BITS) - 1);
    return left_ms <= LONGEST_OPEN_MS ? left_ms * NS_PER_MS : 0;
}

static bool is_let_through(const struct host_view *host)
{
    return host->steering == STEERING_CLOSED ||
           (host->steering == STEERING_AUTO && host->breaker.state == BREAKER_CLOSED);
}

static int by_need(const void *a, const void *b)
{
    const struct host_view *first = a, *second = b;
    bool is_first_closed = is_let_through(first);
    bool is_second_closed = is_let_through(second);
    if (is_first_closed != is_second_closed)
        return is_first_closed ? 1 : -1;
    int order = strcmp(first->target, second->target);
    return order ? order : strcmp(first->rule, second->rule);
}
