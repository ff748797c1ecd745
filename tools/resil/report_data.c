#include "report_data.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "history.h"
#include "hosts.h"
#include "json_out.h"
#include "loops.h"
#include "message.h"
#include "moment.h"
#include "segment_report.h"
#include "timeline.h"

struct period {
    uint64_t from_ns, to_ns;
    int64_t difference_ns; /* to the wall clock */
};

static struct json_object *file_data(const struct segment_file *file, const struct history *history,
                                     const struct period *period);
static struct json_object *host_data(const struct segment_file *file, const struct host_view *host,
                                     const struct history *history, const struct period *period);
static struct json_object *latencies_data(const struct host_view *host);
static struct json_object *spans_data(const struct host_view *host, const struct moment *const *moments,
                                      size_t count, const struct period *period);
static struct json_object *event_data(const struct event *event, bool is_of_host,
                                      const struct period *period);
static struct json_object *loops_data(const struct history *history);
static void leave_out_before(struct history *history, uint64_t from_ns);
static bool is_about(const struct moment *moment, const struct segment_file *file,
                     const struct host_view *host);
static void add_wall_ms(struct json_object *object, const char *key, uint64_t ns,
                        const struct period *period);

struct json_object *report_data(const struct segments *segments, uint64_t since_ns)
{
    struct history history = {.count = 0};
    struct period period = {.to_ns = clock_now_ns(), .difference_ns = moment_clock_difference_ns()};
    history_read(&history, segments);
    if (since_ns)
        period.from_ns = period.to_ns > since_ns ? period.to_ns - since_ns : 0;
    leave_out_before(&history, period.from_ns);
    if (!since_ns)
        period.from_ns = history.count ? history.moments[0].event.time_ns : period.to_ns;
    char machine[256] = "";
    gethostname(machine, sizeof machine - 1);
    struct json_object *data = json_new(), *files = json_object_new_array();
    json_add_text(data, "version", RESIL_VERSION);
    json_add_text(data, "machine", machine);
    json_add_number(data, "user", geteuid());
    add_wall_ms(data, "from_ms", period.from_ns, &period);
    add_wall_ms(data, "to_ms", period.to_ns, &period);
    for (size_t i = 0; i < segments->count; i++)
        if (segments->files[i]->segment)
            json_object_array_add(files, file_data(segments->files[i], &history, &period));
    json_object_object_add(data, "rule_files", files);
    json_object_object_add(data, "loops", loops_data(&history));
    history_end(&history);
    return data;
}

static struct json_object *file_data(const struct segment_file *file, const struct history *history,
                                     const struct period *period)
{
    struct json_object *data = json_new(), *hosts_data = json_object_new_array(),
                       *others = json_object_new_array();
    struct host_list hosts = hosts_list(file->segment);
    for (size_t i = 0; i < hosts.count; i++)
        json_object_array_add(hosts_data, host_data(file, &hosts.hosts[i], history, period));
    for (size_t i = 0; i < history->count; i++) {
        bool is_of_host = history->moments[i].file != file;
        for (size_t n = 0; n < hosts.count && !is_of_host; n++)
            is_of_host = is_about(&history->moments[i], file, &hosts.hosts[n]);
        if (!is_of_host)
            json_object_array_add(others, event_data(&history->moments[i].event, false, period));
    }
    hosts_end(&hosts);
    json_add_text(data, "rules", file->rules);
    json_object_object_add(data, "hosts", hosts_data);
    json_object_object_add(data, "events",
                           others); /* that are about no host: of rules, of what passed through */
    return data;
}

static struct json_object *host_data(const struct segment_file *file, const struct host_view *host,
                                     const struct history *history, const struct period *period)
{
    const struct moment **moments = allocate((history->count + 1) * sizeof *moments);
    size_t count = 0;
    for (size_t i = 0; i < history->count; i++)
        if (is_about(&history->moments[i], file, host))
            moments[count++] = &history->moments[i];
    struct json_object *data = json_new(), *counts = json_new(), *events = json_object_new_array();
    for (unsigned i = 0; i < HOST_COUNT_KINDS; i++)
        json_add_number(counts, host_count_name(i), host->counts[i]);
    for (size_t i = 0; i < count; i++)
        json_object_array_add(events, event_data(&moments[i]->event, true, period));
    json_add_text(data, "target", host->target);
    json_add_text(data, "rule", host->rule);
    json_add_text(data, "state", circuit_state_name(circuit_state_of(host)));
    json_add_text(data, "state_text", host_state_text(host).text);
    json_add_text(data, "served_text", host_served_text(host).text);
    json_object_object_add(data, "counts", counts);
    json_add_ms(data, "spared_ms", host->spared_ns);
    json_object_object_add(data, "latencies", latencies_data(host));
    json_object_object_add(data, "spans", spans_data(host, moments, count, period));
    json_object_object_add(data, "events", events);
    free(moments);
    return data;
}

static struct json_object *latencies_data(const struct host_view *host)
{
    struct json_object *data = json_new();
    for (unsigned kind = 0; kind < LATENCY_KINDS; kind++) {
        struct host_quantiles took = host_quantiles(host->latencies[kind], host->latency_sums_ns[kind]);
        struct json_object *latency = json_new(), *buckets = json_object_new_array();
        for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
            struct json_object *bucket = json_new();
            if (i + 1 < LATENCY_BUCKETS)
                json_add_ms(bucket, "up_to_ms", latency_bound_ns(i));
            else
                json_add_text(bucket, "up_to_ms", NULL);
            json_add_number(bucket, "count", host->latencies[kind][i]);
            json_object_array_add(buckets, bucket);
        }
        json_add_number(latency, "count", took.count);
        json_add_ms(latency, "p50_ms", took.median_ns);
        json_add_ms(latency, "p99_ms", took.p99_ns);
        json_object_object_add(latency, "buckets", buckets);
        json_object_object_add(data, host_latency_name(kind), latency);
    }
    return data;
}

static struct json_object *spans_data(const struct host_view *host, const struct moment *const *moments,
                                      size_t count, const struct period *period)
{
    struct json_object *spans = json_object_new_array();
    struct timeline timeline = timeline_of(host, moments, count, period->from_ns, period->to_ns);
    for (size_t i = 0; i < timeline.count; i++) {
        struct json_object *span = json_new();
        json_add_text(span, "state", circuit_state_name(timeline.spans[i].state));
        add_wall_ms(span, "from_ms", timeline.spans[i].from_ns, period);
        add_wall_ms(span, "to_ms", timeline.spans[i].to_ns, period);
        json_object_array_add(spans, span);
    }
    timeline_end(&timeline);
    return spans;
}

static struct json_object *event_data(const struct event *event, bool is_of_host, const struct period *period)
{
    struct event without = *event;
    struct json_object *data = json_new();
    add_wall_ms(data, "at_ms", event->time_ns, period);
    json_add_text(data, "event", event_name((enum event_kind)event->kind));
    json_add_text(data, "program", event->program);
    json_add_number(data, "pid", event->pid);
    /* Of those that are told now and then, how many this one stands for. */
    bool is_sampled = event->kind == EVENT_REJECTED || event->kind == EVENT_LIMIT_CONNECTIONS ||
                      event->kind == EVENT_LIMIT_RATE || event->kind == EVENT_LIMIT_WAIT;
    json_add_number(data, "times", is_sampled && event->count ? event->count : 1);
    json_add_bool(data, "shadow", event->flags & EVENT_SHADOW);
    if (is_of_host)
        without.target[0] = '\0'; /* it is clear which */
    json_add_text(data, "text", event_text(&without).text);
    return data;
}

static struct json_object *loops_data(const struct history *history)
{
    struct json_object *data = json_object_new_array();
    struct loops loops = loops_find(history->moments, history->count);
    for (size_t i = 0; i < loops.count; i++) {
        const struct loop *loop = &loops.loops[i];
        struct json_object *one = json_new();
        json_add_text(one, "program", loop->program);
        json_add_text(one, "target", loop->target);
        json_add_text(one, "rules", loop->file->rules);
        json_add_number(one, "calls", loop->calls);
        json_add_number(one, "runs", loop->runs);
        json_add_ms(one, "gap_ms", loop->gap_ns);
        json_add_ms(one, "took_ms", loop->took_ns);
        json_object_array_add(data, one);
    }
    loops_end(&loops);
    return data;
}

static void leave_out_before(struct history *history, uint64_t from_ns)
{
    size_t first = 0;
    while (first < history->count && history->moments[first].event.time_ns < from_ns)
        first++;
    history->count -= first;
    if (first)
        memmove(history->moments, history->moments + first, history->count * sizeof *history->moments);
}

/* In an event a long name is cut. */
static bool is_about(const struct moment *moment, const struct segment_file *file,
                     const struct host_view *host)
{
    size_t length = strlen(moment->event.target);
    bool is_cut = length + 1 >= sizeof moment->event.target || length + 1 >= 52;
    return moment->file == file && length &&
           (is_cut ? strncmp(moment->event.target, host->target, length)
                   : strcmp(moment->event.target, host->target)) == 0;
}

static void add_wall_ms(struct json_object *object, const char *key, uint64_t ns, const struct period *period)
{
    int64_t wall_ns = (int64_t)ns + period->difference_ns;
    json_add_number(object, key, wall_ns > 0 ? (uint64_t)wall_ns / NS_PER_MS : 0);
}
