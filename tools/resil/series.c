#include "series.h"

#include <stdlib.h>
#include <string.h>

#include "message.h"

static void add_all(struct series_list *list, const struct segment_file *file);
static void merge(struct series_list *list);
static void add_up(struct series *to, const struct series *from);
static int by_labels(const void *a, const void *b);
static int by_calls(const void *a, const void *b);

struct series_list series_list(const struct segments *segments, size_t most)
{
    struct series_list list = {.count = 0};
    for (size_t i = 0; i < segments->count; i++)
        if (segments->files[i]->segment)
            add_all(&list, segments->files[i]);
    merge(&list);
    if (list.count > most) {
        qsort(list.series, list.count, sizeof *list.series, by_calls);
        list.left_out = list.count - most;
        list.count = most;
        qsort(list.series, list.count, sizeof *list.series, by_labels);
    }
    return list;
}

void series_end(struct series_list *list)
{
    free(list->series);
    *list = (struct series_list){.count = 0};
}

static void add_all(struct series_list *list, const struct segment_file *file)
{
    struct host_list hosts = hosts_list(file->segment);
    if (hosts.count)
        list->series = grow(list->series, (list->count + hosts.count) * sizeof *list->series);
    for (size_t i = 0; i < hosts.count; i++)
        list->series[list->count++] = (struct series){.file = file, .host = hosts.hosts[i]};
    hosts_end(&hosts);
}

static void merge(struct series_list *list)
{
    if (!list->count)
        return;
    qsort(list->series, list->count, sizeof *list->series, by_labels);
    size_t kept = 0;
    for (size_t i = 1; i < list->count; i++) {
        if (by_labels(&list->series[kept], &list->series[i]) == 0)
            add_up(&list->series[kept], &list->series[i]);
        else
            list->series[++kept] = list->series[i];
    }
    list->count = kept + 1;
}

static void add_up(struct series *to, const struct series *from)
{
    struct host_view sum = from->host.idle_ns < to->host.idle_ns ? from->host : to->host;
    for (unsigned i = 0; i < HOST_COUNT_KINDS; i++)
        sum.counts[i] = to->host.counts[i] + from->host.counts[i];
    for (unsigned kind = 0; kind < LATENCY_KINDS; kind++) {
        for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
            sum.latencies[kind][i] = to->host.latencies[kind][i] + from->host.latencies[kind][i];
        sum.latency_sums_ns[kind] = to->host.latency_sums_ns[kind] + from->host.latency_sums_ns[kind];
    }
    sum.spared_ns = to->host.spared_ns + from->host.spared_ns;
    to->host = sum;
}

static int by_labels(const void *a, const void *b)
{
    const struct series *first = a, *second = b;
    int order = strcmp(first->file->rules, second->file->rules);
    if (!order)
        order = strcmp(first->host.target, second->host.target);
    return order ? order : strcmp(first->host.rule, second->host.rule);
}

static int by_calls(const void *a, const void *b)
{
    const struct series *first = a, *second = b;
    uint64_t here = first->host.counts[HOST_CALLS], there = second->host.counts[HOST_CALLS];
    return here != there ? here < there ? 1 : -1 : by_labels(a, b);
}
