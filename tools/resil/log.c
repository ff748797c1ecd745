/* resil log: what happened, from the flight recorders of all this user's programs. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "command.h"
#include "message.h"
#include "moment.h"
#include "rules/problems.h"
#include "rules/units.h"
#include "watch.h"

#define LOOK_EVERY_NS  (250 * NS_PER_MS)
#define SHOWN_AT_FIRST 10 /* with --follow, unless -n says otherwise */

struct request {
    const char *rules;
    struct filter filter;
    bool is_following;
    bool is_json;
    bool has_number;
    uint32_t number; /* the last so many */
};

static error_t parse_option(int key, char *argument, struct argp_state *state);
static uint64_t kind_named(const char *name, struct argp_state *state);
static int show_past(const struct request *request, struct segments *segments);
static int follow(const struct request *request, struct segments *segments);
static size_t show(const struct request *request, const struct history *history);

enum { OPTION_HOST = 256, OPTION_EVENT, OPTION_PROGRAM, OPTION_SINCE };
static const struct argp_option options[] = {
    {"rules", 'r', "FILE", 0, "Only programs with this rule file", 0},
    {"host", OPTION_HOST, "HOST", 0, "Only this host, with or without port; or a pattern: \"*.internal\"", 0},
    {"event", OPTION_EVENT, "NAME", 0, "Only events of this name; may be given several times", 0},
    {"program", OPTION_PROGRAM, "NAME", 0, "Only programs of this file name, or a pattern", 0},
    {"since", OPTION_SINCE, "TIME", 0, "Only the last TIME: 30s, 10m, 2h", 0},
    {"number", 'n', "N", 0, "Only the last N of them", 0},
    {"follow", 'f', NULL, 0, "Show the last 10 (or N), then what comes, until interrupted", 0},
    {"json", 'j', NULL, 0, "Print JSON, one object on a line", 0},
    {0},
};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .doc =
        "Shows what libresil did: retries, timeouts, circuits that opened and closed. Every rule file has "
        "a flight "
        "recorder that keeps the last 4096 events of all programs, whether they wrote a log or not."
        "\v"
        "Events:\n"
        "\n"
#define EVENT(kind, name, help) "  " name ": " help "\n"
#include "report/events.def"
#undef EVENT
        "\n"
        "JSON: `time` (UTC), `program`, `pid`, `event`, `target`, `error` (an errno or EAI name, or null), "
        "`reason` (why a call was given up: not_retryable, retries, total, budget, probe, signal; what was "
        "done to "
        "a circuit by hand: open, close, auto, reset; why a call passed through or a rung was skipped; else "
        "null), `attempt`, "
        "`attempts`, `delay_ms`, `duration_ms`, `count`, `rung` (of `degraded` and `rung_skipped`: host, "
        "stale, respond, addresses, error), `age_ms` (of a stale answer), `shadow` (decided, not carried "
        "out), `rules`, "
        "`text`; of limits also `limit` (connections at once, or in a second) and `rule`; of faults also "
        "`fault`, `kind`, `operation`, `connection` (the how-manieth to the target) "
        "and "
        "`site` "
        "(where "
        "the program made the call, or null).\n"
        "\n"
        "Exit status: 0 shown, even if there was nothing; 2 wrong usage.",
};

int log_command(int argc, char **argv)
{
    struct request request = {.rules = NULL};
    if (argp_parse(&parser, argc, argv, 0, NULL, &request) != 0)
        return STATUS_UNUSABLE;
    struct segments segments = segments_begin(request.rules);
    int status = request.is_following ? follow(&request, &segments) : show_past(&request, &segments);
    segments_end(&segments);
    return status;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    switch (key) {
    case 'r':
        request->rules = argument;
        return 0;
    case OPTION_HOST:
        request->filter.host = argument;
        return 0;
    case OPTION_EVENT:
        request->filter.kinds |= kind_named(argument, state);
        return 0;
    case OPTION_PROGRAM:
        request->filter.program = argument;
        return 0;
    case OPTION_SINCE:
        if (!duration_parse(argument, &request->filter.since_ns) || request->filter.since_ns == 0)
            argp_error(state, "--since: \"%s\" is not a duration (write 30s, 10m or 2h)", argument);
        return 0;
    case 'n':
        if (!count_parse(argument, &request->number) || request->number == 0)
            argp_error(state, "-n: \"%s\" is not a number from 1", argument);
        request->has_number = true;
        return 0;
    case 'f':
        request->is_following = true;
        return 0;
    case 'j':
        request->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is too much (a host is named with --host, a program with --program)",
                   argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static uint64_t kind_named(const char *name, struct argp_state *state)
{
    _Static_assert(EVENT_KINDS <= 64, "a set of kinds is 64 bits");
    const char *names[EVENT_KINDS + 1] = {NULL};
    for (unsigned kind = 0; kind < EVENT_KINDS; kind++) {
        names[kind] = event_name((enum event_kind)kind);
        if (strcmp(names[kind], name) == 0)
            return 1ull << kind;
    }
    char list[512];
    struct text text = text_begin(list, sizeof list);
    add_names(&text, names);
    const char *nearest = nearest_name(name, names);
    argp_error(state, "--event: there is no \"%s\"%s%s%s; known: %s", name, nearest ? " (did you mean " : "",
               nearest ? nearest : "", nearest ? "?)" : "", list);
    return 0;
}

static int show_past(const struct request *request, struct segments *segments)
{
    struct history history = {.count = 0};
    segments_scan(segments);
    history_read(&history, segments);
    size_t shown = show(request, &history);
    if (shown == 0 && !request->is_json && history.count)
        printf("None of the %zu recorded events matches.\n", history.count);
    else if (shown == 0 && !request->is_json && segments_readable(segments))
        printf("No events so far: no call failed, was late, or had to be tried again.\n");
    else if (shown == 0 && !request->is_json)
        segments_explain_nothing(segments);
    history_end(&history);
    return STATUS_GOOD;
}

static int follow(const struct request *request, struct segments *segments)
{
    watch_begin();
    struct request now = *request;
    if (!now.has_number)
        now.number = SHOWN_AT_FIRST;
    now.has_number = true;
    struct history history = {.count = 0};
    do {
        segments_scan(segments);
        history_read(&history, segments);
        show(&now, &history);
        if (history.lost)
            complain("%llu events came faster than they could be read, and are lost",
                     (unsigned long long)history.lost);
        history_clear(&history);
        now.has_number = false; /* from now on all that come */
    } while (watch_on(LOOK_EVERY_NS));
    history_end(&history);
    return STATUS_GOOD;
}

/* Gives how many were shown. */
static size_t show(const struct request *request, const struct history *history)
{
    uint64_t now_ns = clock_now_ns();
    int64_t difference_ns = moment_clock_difference_ns();
    size_t passing = 0, seen = 0, shown = 0;
    for (size_t i = 0; i < history->count; i++)
        passing += moment_passes(&history->moments[i], &request->filter, now_ns);
    for (size_t i = 0; i < history->count && !ferror(stdout); i++) {
        if (!moment_passes(&history->moments[i], &request->filter, now_ns))
            continue;
        if (request->has_number && passing - seen++ > request->number)
            continue;
        (request->is_json ? moment_print_json : moment_print)(&history->moments[i], difference_ns, stdout);
        shown++;
    }
    return shown;
}
