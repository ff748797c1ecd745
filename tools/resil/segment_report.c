#include "segment_report.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/text.h"
#include "hosts.h"
#include "json_out.h"
#include "message.h"
#include "table.h"

static void print_hosts(const struct host_list *hosts);
static char *details_of(const struct host_view *host);
static char *latencies_of(const struct host_view *host);
static uint64_t rounded_ns(uint64_t ns);
static void print_events(const struct segment *segment);
static void print_passed(const struct segment *segment);
static struct json_object *latency_report(const struct host_view *host, unsigned kind);
static struct json_object *host_report(const struct host_view *host);
static uint64_t word(const _Atomic uint64_t *word);

void segment_print(const struct segment_file *file)
{
    printf("Rules: %s\n", file->rules);
    struct host_list hosts = hosts_list(file->segment);
    if (hosts.count)
        print_hosts(&hosts);
    else
        printf("  No host that a rule is for was called yet.\n");
    hosts_end(&hosts);
    print_events(file->segment);
    print_passed(file->segment);
}

/* What every host has stands in columns, what only some have below it: so it fits a narrow terminal. */
static void print_hosts(const struct host_list *hosts)
{
    struct table table = table_begin("lllrrr");
    table_row(&table, "TARGET", "RULE", "CIRCUIT", "CALLS", "CONNECTED", "FAILED");
    for (size_t i = 0; i < hosts->count; i++) {
        const struct host_view *host = &hosts->hosts[i];
        char numbers[3][24];
        static const enum host_count columns[] = {HOST_CALLS, HOST_CONNECTED, HOST_FAILED};
        for (unsigned n = 0; n < 3; n++)
            snprintf(numbers[n], sizeof numbers[n], "%llu", (unsigned long long)host->counts[columns[n]]);
        table_row(&table, host->target, host->rule, host_state_text(host).text, numbers[0], numbers[1],
                  numbers[2]);
        char *details = details_of(host);
        if (details)
            table_note(&table, details);
        char *latencies = latencies_of(host);
        if (latencies)
            table_note(&table, latencies);
    }
    table_end(&table, stdout);
}

/* "failures in a row 3, retries 6"; NULL when there is nothing to say. */
static char *details_of(const struct host_view *host)
{
    char *details = NULL;
    if (host->served.rung != RUNG_FULL)
        details = copy_of(host_served_text(host).text);
    if (host->breaker.failures) {
        char *before = details;
        details = formatted("%s%sfailures in a row %u", before ? before : "", before ? ", " : "",
                            host->breaker.failures);
        free(before);
    }
    for (unsigned i = 0; i < HOST_COUNT_KINDS; i++) {
        if (i == HOST_CALLS || i == HOST_CONNECTED || i == HOST_FAILED || host->counts[i] == 0)
            continue;
        char *before = details;
        details = formatted("%s%s%s %llu", before ? before : "", before ? ", " : "", host_count_label(i).text,
                            (unsigned long long)host->counts[i]);
        free(before);
    }
    return details;
}

/* "connect p50 1.2ms, p99 40ms; first byte p50 15ms, p99 230ms": a line of its own. NULL when nothing was timed. */
static char *latencies_of(const struct host_view *host)
{
    char *latencies = NULL;
    for (unsigned kind = 0; kind < LATENCY_KINDS; kind++) {
        struct host_quantiles took = host_quantiles(host->latencies[kind], host->latency_sums_ns[kind]);
        if (!took.count)
            continue;
        char *before = latencies;
        latencies = formatted("%s%s%s p50 %s, p99 %s", before ? before : "", before ? "; " : "",
                              kind == LATENCY_CONNECT ? "connect" : "first byte",
                              duration_text(rounded_ns(took.median_ns)).text,
                              duration_text(rounded_ns(took.p99_ns)).text);
        free(before);
    }
    return latencies;
}

/* To what a bucket can tell: two digits. */
static uint64_t rounded_ns(uint64_t ns)
{
    uint64_t step = 1;
    while (ns / step >= 100)
        step *= 10;
    return (ns + step / 2) / step * step;
}

static void print_events(const struct segment *segment)
{
    struct table table = table_begin("rll");
    for (unsigned kind = 0; kind < EVENT_KINDS; kind++) {
        uint64_t number = word(&segment->events[kind]);
        if (!number)
            continue;
        char *text = formatted("%llu", (unsigned long long)number);
        table_row(&table, text, event_name((enum event_kind)kind), event_help((enum event_kind)kind));
        free(text);
    }
    if (table.count)
        printf("Events:\n");
    table_end(&table, stdout);
}

static void print_passed(const struct segment *segment)
{
    struct table table = table_begin("rl");
    for (unsigned reason = 0; reason < PASSED_REASON_COUNT; reason++) {
        uint64_t number = word(&segment->passed[reason]);
        if (!number)
            continue;
        char *text = formatted("%llu", (unsigned long long)number);
        char *why = formatted("%s (%s)", passed_help((enum passed_reason)reason),
                              passed_name((enum passed_reason)reason));
        table_row(&table, text, why);
        free(text);
        free(why);
    }
    if (table.count)
        printf("Left alone, or done in part only, because of:\n");
    table_end(&table, stdout);
}

struct json_object *segment_report(const struct segment_file *file)
{
    struct json_object *report = json_new(), *events = json_new(), *passed = json_new();
    struct json_object *host_reports = json_object_new_array();
    struct host_list hosts = hosts_list(file->segment);
    for (size_t i = 0; i < hosts.count; i++)
        json_object_array_add(host_reports, host_report(&hosts.hosts[i]));
    hosts_end(&hosts);
    for (unsigned kind = 0; kind < EVENT_KINDS; kind++)
        json_add_number(events, event_name((enum event_kind)kind), word(&file->segment->events[kind]));
    for (unsigned reason = 0; reason < PASSED_REASON_COUNT; reason++)
        json_add_number(passed, passed_name((enum passed_reason)reason),
                        word(&file->segment->passed[reason]));
    json_add_text(report, "rules", file->rules);
    json_object_object_add(report, "hosts", host_reports);
    json_object_object_add(report, "events", events);
    json_object_object_add(report, "passed_through", passed);
    return report;
}

static struct json_object *latency_report(const struct host_view *host, unsigned kind)
{
    struct json_object *report = json_new();
    struct host_quantiles took = host_quantiles(host->latencies[kind], host->latency_sums_ns[kind]);
    json_add_number(report, "count", took.count);
    json_add_ms(report, "p50_ms", took.median_ns);
    json_add_ms(report, "p99_ms", took.p99_ns);
    json_add_ms(report, "sum_ms", host->latency_sums_ns[kind]);
    return report;
}

static struct json_object *host_report(const struct host_view *host)
{
    struct json_object *report = json_new();
    json_add_text(report, "target", host->target);
    json_add_text(report, "rule", host->rule);
    json_add_text(report, "state", breaker_state_name(host->breaker.state));
    static const char *const held[] = {
        [STEERING_AUTO] = NULL, [STEERING_OPEN] = "open", [STEERING_CLOSED] = "closed"};
    json_add_text(report, "held", held[host->steering]);
    json_add_ms(report, "probe_in_ms", host->breaker.state == BREAKER_OPEN ? host->left_ns : 0);
    json_add_number(report, "probe_pid", host->probe_pid);
    json_add_number(report, "failures_in_a_row", host->breaker.failures);
    json_add_number(report, "openings_in_a_row", host->breaker.openings);
    json_add_ms(report, "idle_ms", host->idle_ns);
    json_add_text(report, "served_by", rung_name(host->served.rung));
    if (host->served.rung != RUNG_FULL)
        json_add_number(report, "served_ago_ms", host->served.ago_ms);
    else
        json_add_text(report, "served_ago_ms", NULL);
    for (unsigned i = 0; i < HOST_COUNT_KINDS; i++)
        json_add_number(report, host_count_name(i), host->counts[i]);
    json_add_ms(report, "spared_ms", host->spared_ns);
    for (unsigned kind = 0; kind < LATENCY_KINDS; kind++)
        json_object_object_add(report, host_latency_name(kind), latency_report(host, kind));
    return report;
}

static uint64_t word(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}
