#include "exposition.h"

#include <string.h>

#include "base/clock.h"
#include "hosts.h"
#include "printable.h"
#include "series.h"

#define PREFIX "resil_"

struct exposition {
    const struct segments *segments;
    struct series_list hosts;
    enum exposition_format format;
    FILE *to;
    bool has_label; /* the sample that is being written */
};

static void say_about_resil(struct exposition *out);
static void say_host_counts(struct exposition *out);
static void say_decisions(struct exposition *out, const char *name, bool is_enforced, const char *help);
static void say_states(struct exposition *out);
static void say_breakers(struct exposition *out);
static void say_latencies(struct exposition *out, enum latency_kind kind);
static void say_spared(struct exposition *out);
static void say_events(struct exposition *out);
static void say_passed(struct exposition *out);
static void say_faults(struct exposition *out);
static bool is_of_shadow(unsigned count);
static unsigned state_of(const struct host_view *host);
static void family(struct exposition *out, const char *name, const char *type, const char *unit,
                   const char *help);
static void begin(struct exposition *out, const char *name, const char *suffix);
static void begin_host(struct exposition *out, const char *name, const char *suffix, size_t host);
static void label(struct exposition *out, const char *name, const char *value);
static void end(struct exposition *out, uint64_t value);
static void end_seconds(struct exposition *out, uint64_t ns);
static void add_seconds(FILE *to, uint64_t ns);

const char *exposition_type(enum exposition_format format)
{
    return format == OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                 : "text/plain; version=0.0.4; charset=utf-8";
}

void exposition_print(const struct segments *segments, enum exposition_format format, size_t hosts_most,
                      FILE *to)
{
    struct exposition out = {.segments = segments, .format = format, .to = to};
    out.hosts = series_list(segments, hosts_most);
    say_about_resil(&out);
    say_host_counts(&out);
    say_decisions(&out, "decisions_detected", false,
                  "Calls to be rejected, limited, cut short or retried, whether that was enforced or not");
    say_decisions(&out, "decisions_enforced", true,
                  "Calls that were rejected, limited, cut short or retried");
    say_states(&out);
    say_breakers(&out);
    for (unsigned kind = 0; kind < LATENCY_KINDS; kind++)
        say_latencies(&out, (enum latency_kind)kind);
    say_spared(&out);
    say_events(&out);
    say_passed(&out);
    say_faults(&out);
    if (format == OPENMETRICS)
        fputs("# EOF\n", to);
    series_end(&out.hosts);
}

static void say_about_resil(struct exposition *out)
{
    family(out, "build_info", "gauge", NULL, "The version of resil; always 1");
    begin(out, "build_info", "");
    label(out, "version", RESIL_VERSION);
    end(out, 1);
    family(out, "rule_files", "gauge", NULL, "Rule files whose programs have shared state here");
    begin(out, "rule_files", "");
    end(out, segments_readable(out->segments));
    family(out, "hosts_left_out", "gauge", NULL, "Hosts that are not shown, because there are too many");
    begin(out, "hosts_left_out", "");
    end(out, out->hosts.left_out);
}

static void say_host_counts(struct exposition *out)
{
    static const char *const helps[] = {
#define COUNT(name, text, help) help,
        HOST_COUNTS(COUNT)
#undef COUNT
    };
    for (unsigned i = 0; i < HOST_COUNT_KINDS; i++) {
        char name[64];
        if (is_of_shadow(i))
            continue;
        snprintf(name, sizeof name, "host_%s", host_count_name(i));
        family(out, name, "counter", NULL, helps[i]);
        for (size_t n = 0; n < out->hosts.count; n++) {
            begin_host(out, name, "_total", n);
            end(out, out->hosts.series[n].host.counts[i]);
        }
    }
}

/* They are told as decisions that were detected and not enforced. */
static bool is_of_shadow(unsigned count)
{
    return count == HOST_SHADOWED || count == HOST_WOULD_REJECT || count == HOST_WOULD_LIMIT ||
           count == HOST_WOULD_CUT || count == HOST_WOULD_RETRY;
}

static void say_decisions(struct exposition *out, const char *name, bool is_enforced, const char *help)
{
    family(out, name, "counter", NULL, help);
    for (size_t n = 0; n < out->hosts.count; n++) {
        const uint64_t *counts = out->hosts.series[n].host.counts;
        const struct {
            const char *name;
            uint64_t enforced, only_detected;
        } decisions[] = {
            {"reject", counts[HOST_REJECTED], counts[HOST_WOULD_REJECT]},
            {"limit", counts[HOST_LIMITED], counts[HOST_WOULD_LIMIT]},
            {"cut", counts[HOST_TIMEOUTS], counts[HOST_WOULD_CUT]},
            {"retry", counts[HOST_RETRIES] + counts[HOST_SIBLINGS], counts[HOST_WOULD_RETRY]},
        };
        for (size_t i = 0; i < sizeof decisions / sizeof decisions[0]; i++) {
            begin_host(out, name, "_total", n);
            label(out, "decision", decisions[i].name);
            end(out, decisions[i].enforced + (is_enforced ? 0 : decisions[i].only_detected));
        }
    }
}

static void say_states(struct exposition *out)
{
    static const char *const names[] = {"closed", "open", "half_open", "held_open", "held_closed"};
    family(out, "breaker_state", "gauge", NULL, "1 for the state that the circuit is in, 0 for the others");
    for (size_t n = 0; n < out->hosts.count; n++)
        for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
            begin_host(out, "breaker_state", "", n);
            label(out, "state", names[i]);
            end(out, i == state_of(&out->hosts.series[n].host));
        }
}

static unsigned state_of(const struct host_view *host)
{
    if (host->steering != STEERING_AUTO)
        return host->steering == STEERING_OPEN ? 3 : 4;
    return host->breaker.state == BREAKER_CLOSED ? 0 : host->breaker.state == BREAKER_OPEN ? 1 : 2;
}

static void say_breakers(struct exposition *out)
{
    family(out, "breaker_failures_in_a_row", "gauge", NULL, "Failures since the last success");
    for (size_t n = 0; n < out->hosts.count; n++) {
        begin_host(out, "breaker_failures_in_a_row", "", n);
        end(out, out->hosts.series[n].host.breaker.failures);
    }
    family(out, "breaker_next_probe_seconds", "gauge", "seconds",
           "How long an open circuit still rejects every call");
    for (size_t n = 0; n < out->hosts.count; n++) {
        const struct host_view *host = &out->hosts.series[n].host;
        begin_host(out, "breaker_next_probe_seconds", "", n);
        end_seconds(out, host->breaker.state == BREAKER_OPEN ? host->left_ns : 0);
    }
}

static void say_latencies(struct exposition *out, enum latency_kind kind)
{
    char name[64];
    snprintf(name, sizeof name, "%s_duration_seconds", host_latency_name(kind));
    family(out, name, "histogram", "seconds", host_latency_help(kind));
    for (size_t n = 0; n < out->hosts.count; n++) {
        const struct host_view *host = &out->hosts.series[n].host;
        uint64_t below = 0;
        for (unsigned bucket = 0; bucket < LATENCY_BUCKETS; bucket++) {
            char bound[32] = "+Inf";
            FILE *text = bucket + 1 < LATENCY_BUCKETS ? fmemopen(bound, sizeof bound, "w") : NULL;
            if (text) {
                add_seconds(text, latency_bound_ns(bucket));
                fclose(text);
            }
            below += host->latencies[kind][bucket];
            begin_host(out, name, "_bucket", n);
            label(out, "le", bound);
            end(out, below);
        }
        begin_host(out, name, "_sum", n);
        end_seconds(out, host->latency_sums_ns[kind]);
        begin_host(out, name, "_count", n);
        end(out, below);
    }
}

static void say_spared(struct exposition *out)
{
    family(out, "spared_seconds", "counter", "seconds",
           "How long calls waited that would not have, were their rule enforced");
    for (size_t n = 0; n < out->hosts.count; n++) {
        begin_host(out, "spared_seconds", "_total", n);
        end_seconds(out, out->hosts.series[n].host.spared_ns);
    }
}

static void say_events(struct exposition *out)
{
    family(out, "events", "counter", NULL, "What happened, by the names that `resil log` has for it");
    for (size_t i = 0; i < out->segments->count; i++) {
        const struct segment_file *file = out->segments->files[i];
        for (unsigned kind = 0; file->segment && kind < EVENT_KINDS; kind++) {
            begin(out, "events", "_total");
            label(out, "rules", file->rules);
            label(out, "event", event_name((enum event_kind)kind));
            end(out, atomic_load_explicit(&file->segment->events[kind], memory_order_relaxed));
        }
    }
}

static void say_passed(struct exposition *out)
{
    family(out, "passed_through", "counter", NULL,
           "Calls that were left alone or done in part only, and why");
    for (size_t i = 0; i < out->segments->count; i++) {
        const struct segment_file *file = out->segments->files[i];
        for (unsigned reason = 0; file->segment && reason < PASSED_REASON_COUNT; reason++) {
            begin(out, "passed_through", "_total");
            label(out, "rules", file->rules);
            label(out, "reason", passed_name((enum passed_reason)reason));
            end(out, atomic_load_explicit(&file->segment->passed[reason], memory_order_relaxed));
        }
    }
}

static void say_faults(struct exposition *out)
{
    static const struct {
        const char *name, *help;
    } families[] = {
        {"faults_injected", "How often a fault of the rule file has fired"},
        {"faults_shadowed",
         "How often one would have, in programs that are only told of it (RESIL_FAULTS=shadow)"},
    };
    for (unsigned which = 0; which < 2; which++) {
        family(out, families[which].name, "counter", NULL, families[which].help);
        for (size_t i = 0; i < out->segments->count; i++) {
            const struct segment_file *file = out->segments->files[i];
            for (unsigned n = 0; file->segment && n < FAULT_SLOTS; n++) {
                const struct fault_slot *slot = &file->segment->faults[n];
                char name[sizeof slot->name + 1];
                if (!atomic_load_explicit(&slot->key, memory_order_acquire))
                    continue;
                begin(out, families[which].name, "_total");
                label(out, "rules", file->rules);
                label(out, "fault", printable_field(name, slot->name, sizeof slot->name));
                end(out,
                    atomic_load_explicit(which ? &slot->would_fire : &slot->fired, memory_order_relaxed));
            }
        }
    }
}

/* OpenMetrics has counters without the suffix in their names, and knows units. Our helps have nothing to be escaped. */
static void family(struct exposition *out, const char *name, const char *type, const char *unit,
                   const char *help)
{
    const char *suffix = out->format == PROMETHEUS_TEXT && strcmp(type, "counter") == 0 ? "_total" : "";
    fprintf(out->to, "# HELP " PREFIX "%s%s %s\n# TYPE " PREFIX "%s%s %s\n", name, suffix, help, name, suffix,
            type);
    if (unit && out->format == OPENMETRICS)
        fprintf(out->to, "# UNIT " PREFIX "%s %s\n", name, unit);
}

/* begin, label..., end: one sample. */
static void begin(struct exposition *out, const char *name, const char *suffix)
{
    fprintf(out->to, PREFIX "%s%s", name, suffix);
    out->has_label = false;
}

static void begin_host(struct exposition *out, const char *name, const char *suffix, size_t host)
{
    const struct series *series = &out->hosts.series[host];
    begin(out, name, suffix);
    label(out, "rules", series->file->rules);
    label(out, "rule", series->host.rule);
    label(out, "target", series->host.target);
}

static void label(struct exposition *out, const char *name, const char *value)
{
    fprintf(out->to, "%s%s=\"", out->has_label ? "," : "{", name);
    out->has_label = true;
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            fputc('\\', out->to);
        fputc(*value, out->to); /* there are no newlines in what is printable */
    }
    fputc('"', out->to);
}

static void end(struct exposition *out, uint64_t value)
{
    fprintf(out->to, "%s %llu\n", out->has_label ? "}" : "", (unsigned long long)value);
}

static void end_seconds(struct exposition *out, uint64_t ns)
{
    fputs(out->has_label ? "} " : " ", out->to);
    add_seconds(out->to, ns);
    fputc('\n', out->to);
}

/* "0.00005", "2.0": always with a point, as OpenMetrics wants bounds. */
static void add_seconds(FILE *to, uint64_t ns)
{
    char digits[16];
    int length = snprintf(digits, sizeof digits, "%09llu", (unsigned long long)(ns % NS_PER_S));
    while (length > 1 && digits[length - 1] == '0')
        length--;
    fprintf(to, "%llu.%.*s", (unsigned long long)(ns / NS_PER_S), length, digits);
}
