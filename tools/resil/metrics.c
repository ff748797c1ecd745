/* resil metrics: circuits, counters and latencies for Prometheus. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "exposition.h"
#include "http.h"
#include "message.h"
#include "rules/units.h"

#define HOSTS_SHOWN 256

struct request {
    const char *rules, *listen;
    enum exposition_format format;
    uint32_t hosts_most;
};
struct source {
    const struct request *request;
    struct segments segments;
};

static error_t parse_option(int key, char *argument, struct argp_state *state);
static http_page make_page;

enum { OPTION_LISTEN = 256, OPTION_PROMETHEUS, OPTION_HOSTS };
static const struct argp_option options[] = {
    {"rules", 'r', "FILE", 0, "Only programs with this rule file", 0},
    {"listen", OPTION_LISTEN, "ADDR:PORT", 0,
     "Serve them at http://ADDR:PORT/metrics until interrupted; port 0: the kernel chooses", 0},
    {"prometheus", OPTION_PROMETHEUS, NULL, 0,
     "Print the older text format instead: for promtool, and for textfile collectors", 0},
    {"hosts", OPTION_HOSTS, "N", 0, "Only the N hosts that were called most (256)", 0},
    {0},
};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .doc =
        "Prints the circuits, counters and latencies of all this user's programs as OpenMetrics."
        "\v"
        "Every series of a host has the labels `rules` (the rule file), `rule` and `target`.\n"
        "\n"
        "resil_host_NAME_total: the counters of `resil status`.\n"
        "resil_decisions_detected_total, resil_decisions_enforced_total: by `decision` (reject, limit, "
        "cut, retry). Where `enforce:` is less than 100% the first one is greater: by what would have "
        "been done.\n"
        "resil_breaker_state: 1 for the `state` that a circuit is in (closed, open, half_open, held_open, "
        "held_closed), 0 for the others.\n"
        "resil_breaker_failures_in_a_row, resil_breaker_next_probe_seconds.\n"
        "resil_connect_duration_seconds: a histogram of connect calls that succeeded, with their retries.\n"
        "resil_first_byte_duration_seconds: a histogram of answers, from the request to the first byte; "
        "under rules with `response`. A program that does not block has its first 1000 answers timed, and "
        "then at most one in each tick of the kernel's clock (1 to 10 ms): a sample. "
        "resil_host_answered_total counts all.\n"
        "resil_spared_seconds_total: how long calls waited that would not have, were their rule "
        "enforced.\n"
        "resil_events_total: by `event`, as `resil log` names them. resil_passed_through_total: by "
        "`reason`.\n"
        "resil_rule_files, resil_hosts_left_out, resil_build_info.\n"
        "\n"
        "There is a place for 1024 hosts under a rule file; --hosts bounds what a scrape gets. A host "
        "that gives its place to another one begins anew when it comes back, as after a restart.\n"
        "\n"
        "The server answers this user's figures to whoever can reach it: let it listen on loopback, or "
        "where only Prometheus can reach it. It gives OpenMetrics to those who accept it, else the older "
        "format.\n"
        "\n"
        "Exit status: 0 printed, or served until interrupted; 2 wrong usage, or the address cannot be "
        "listened on.",
};

int metrics_command(int argc, char **argv)
{
    struct request request = {.hosts_most = HOSTS_SHOWN};
    if (argp_parse(&parser, argc, argv, 0, NULL, &request) != 0)
        return STATUS_UNUSABLE;
    struct source source = {.request = &request, .segments = segments_begin(request.rules)};
    int status = STATUS_GOOD;
    if (request.listen) {
        status = http_serve(request.listen, make_page, &source);
    } else {
        segments_scan(&source.segments);
        exposition_print(&source.segments, request.format, request.hosts_most, stdout);
    }
    segments_end(&source.segments);
    return status;
}

static char *make_page(const char *accept, const char **type, size_t *size, void *context)
{
    struct source *source = context;
    bool wants_openmetrics = accept && strstr(accept, "application/openmetrics-text");
    enum exposition_format format = wants_openmetrics ? OPENMETRICS : PROMETHEUS_TEXT;
    char *text = NULL;
    FILE *to = open_memstream(&text, size);
    if (!to) {
        complain("no memory");
        exit(STATUS_UNUSABLE);
    }
    segments_scan(&source->segments);
    exposition_print(&source->segments, format, source->request->hosts_most, to);
    fclose(to);
    *type = exposition_type(format);
    return text;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    switch (key) {
    case 'r':
        request->rules = argument;
        return 0;
    case OPTION_LISTEN:
        request->listen = argument;
        return 0;
    case OPTION_PROMETHEUS:
        request->format = PROMETHEUS_TEXT;
        return 0;
    case OPTION_HOSTS:
        if (!count_parse(argument, &request->hosts_most))
            argp_error(state, "--hosts: \"%s\" is not a number", argument);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is too much (a rule file is named with --rules)", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}
