#include "pace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "message.h"
#include "moment.h"

#define SNAPSHOT_NS (10 * NS_PER_S)

static struct pace *known(struct paces *paces, const struct segment_file *file, uint64_t key);
static struct pace *begin(const struct segment_file *file, uint64_t key);
static void look(struct pace *pace, const struct segment_file *file, const struct host_view *host,
                 uint64_t now_ns);
static void look_at_latencies(struct pace *pace, uint64_t now_ns);
static void look_at_events(struct paces *paces, const struct segments *segments);
static void tell(struct pace *pace, const struct moment *moment, int64_t difference_ns);
static uint64_t bad_of(const struct host_view *host);
static uint32_t since(uint64_t before, uint64_t now);

void paces_look(struct paces *paces, const struct segments *segments)
{
    uint64_t now_ns = clock_now_ns();
    size_t room = 0, count = 0;
    struct pace **next = NULL;
    for (size_t i = 0; i < paces->count; i++)
        paces->hosts[i]->kept.is_there = false;
    for (size_t i = 0; i < segments->count; i++) {
        const struct segment_file *file = segments->files[i];
        if (!file->segment)
            continue;
        struct host_list hosts = hosts_list(file->segment);
        room += hosts.count;
        next = grow(next, (room + 1) * sizeof *next);
        for (size_t n = 0; n < hosts.count; n++) {
            uint64_t key = atomic_load_explicit(&hosts.hosts[n].host->key, memory_order_relaxed);
            struct pace *pace = known(paces, file, key);
            if (!pace)
                pace = begin(file, key);
            pace->kept.is_there = true;
            look(pace, file, &hosts.hosts[n], now_ns);
            next[count++] = pace;
        }
        hosts_end(&hosts);
    }
    for (size_t i = 0; i < paces->count; i++)
        if (!paces->hosts[i]->kept.is_there)
            free(paces->hosts[i]);
    free(paces->hosts);
    paces->hosts = next;
    paces->count = count;
    look_at_events(paces, segments);
}

void paces_end(struct paces *paces)
{
    for (size_t i = 0; i < paces->count; i++)
        free(paces->hosts[i]);
    free(paces->hosts);
    history_end(&paces->history);
    *paces = (struct paces){.count = 0};
}

struct pace_step pace_step(const struct pace *pace, size_t ago)
{
    if (ago >= pace->step_count || ago >= PACE_LOOKS)
        return (struct pace_step){0, 0};
    return pace->steps[(pace->step_count - 1 - ago) % PACE_LOOKS];
}

static struct pace *known(struct paces *paces, const struct segment_file *file, uint64_t key)
{
    for (size_t i = 0; i < paces->count; i++) {
        struct pace *pace = paces->hosts[i];
        if (pace->kept.key == key && !pace->kept.is_there && strcmp(pace->kept.name, file->name) == 0)
            return pace;
    }
    return NULL;
}

static struct pace *begin(const struct segment_file *file, uint64_t key)
{
    struct pace *pace = allocate(sizeof *pace);
    pace->kept.key = key;
    memcpy(pace->kept.name, file->name, sizeof pace->kept.name);
    return pace;
}

static void look(struct pace *pace, const struct segment_file *file, const struct host_view *host,
                 uint64_t now_ns)
{
    bool is_first = pace->kept.seen_ns == 0;
    if (!is_first && now_ns > pace->kept.seen_ns) {
        struct pace_step step = {
            .calls = since(pace->host.counts[HOST_CALLS], host->counts[HOST_CALLS]),
            .bad = since(bad_of(&pace->host), bad_of(host)),
        };
        pace->steps[pace->step_count++ % PACE_LOOKS] = step;
        pace->calls_per_s = (double)step.calls * NS_PER_S / (double)(now_ns - pace->kept.seen_ns);
    }
    pace->file = file;
    pace->host = *host;
    pace->kept.seen_ns = now_ns;
    look_at_latencies(pace, now_ns);
}

/* Against how it was a minute ago, as near as the snapshots tell. */
static void look_at_latencies(struct pace *pace, uint64_t now_ns)
{
    size_t oldest =
        pace->kept.snapshot_count < PACE_SNAPSHOTS ? 0 : pace->kept.snapshot_count % PACE_SNAPSHOTS;
    for (unsigned kind = 0; kind < LATENCY_KINDS; kind++) {
        uint64_t counts[LATENCY_BUCKETS];
        for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
            uint64_t now = pace->host.latencies[kind][i], before = pace->kept.snapshots[oldest][kind][i];
            counts[i] = now > before ? now - before : 0;
        }
        pace->latencies[kind] = host_quantiles(counts, 0);
        if (!pace->latencies[kind].count)
            pace->latencies[kind] =
                host_quantiles(pace->host.latencies[kind], pace->host.latency_sums_ns[kind]);
    }
    if (pace->kept.snapshot_count && now_ns - pace->kept.snapshot_ns < SNAPSHOT_NS)
        return;
    memcpy(pace->kept.snapshots[pace->kept.snapshot_count++ % PACE_SNAPSHOTS], pace->host.latencies,
           sizeof pace->host.latencies);
    pace->kept.snapshot_ns = now_ns;
}

static void look_at_events(struct paces *paces, const struct segments *segments)
{
    int64_t difference_ns = moment_clock_difference_ns();
    history_read(&paces->history, segments);
    for (size_t i = 0; i < paces->history.count; i++) {
        const struct moment *moment = &paces->history.moments[i];
        for (size_t n = 0; n < paces->count; n++)
            if (paces->hosts[n]->file == moment->file && moment->event.target[0] &&
                strncmp(paces->hosts[n]->host.target, moment->event.target, strlen(moment->event.target)) ==
                    0)
                tell(paces->hosts[n], moment, difference_ns);
    }
    history_clear(&paces->history);
}

static void tell(struct pace *pace, const struct moment *moment, int64_t difference_ns)
{
    time_t seconds = (time_t)(((int64_t)moment->event.time_ns + difference_ns) / (int64_t)NS_PER_S);
    struct tm local = {0};
    char clock[16] = "";
    struct event event = moment->event;
    event.target[0] = '\0'; /* it is clear which */
    if (localtime_r(&seconds, &local))
        strftime(clock, sizeof clock, "%H:%M:%S", &local);
    snprintf(pace->last_event, sizeof pace->last_event, "%s %s[%u] %s", clock, event.program, event.pid,
             event_text(&event).text);
}

static uint64_t bad_of(const struct host_view *host)
{
    return host->counts[HOST_FAILED] + host->counts[HOST_REJECTED] + host->counts[HOST_LIMITED];
}

/* A host that had to give its place away meanwhile has begun anew. */
static uint32_t since(uint64_t before, uint64_t now)
{
    uint64_t more = now >= before ? now - before : now;
    return more < UINT32_MAX ? (uint32_t)more : UINT32_MAX;
}
