/* resil status: circuits, counters and events of all this user's programs. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "command.h"
#include "json_out.h"
#include "message.h"
#include "printable.h"
#include "rule_file.h"
#include "rules/units.h"
#include "segment_report.h"
#include "watch.h"

struct request {
    const char *rules;
    bool is_json;
    bool is_watching;
    uint64_t every_ns;
};

static void show(const struct request *request, struct segments *segments);
static void show_on_screen(const struct request *request, struct segments *segments);

static error_t parse_option(int key, char *argument, struct argp_state *state);

static const struct argp_option options[] = {
    {"rules", 'r', "FILE", 0, "Only programs with this rule file", 0},
    {"json", 'j', NULL, 0, "Print JSON", 0},
    {"watch", 'w', "TIME", OPTION_ARG_OPTIONAL,
     "Again each second, or each TIME, until interrupted; on a terminal as much as fits", 0},
    {0},
};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .doc = "Shows, for each rule file that programs of this user run with: the hosts, their circuits and "
           "counters, what "
           "happened how often, and what libresil let through untouched."
           "\v"
           "A circuit is closed (calls go through), open (they fail at once) or half-open (one call probes "
           "whether the host is back). `probe due`: the next call will be the probe. `held open` and `held "
           "closed`: somebody said so with `resil breaker`.\n"
           "\n"
           "JSON: {\"rule_files\": [{\"rules\", \"hosts\", \"events\", \"passed_through\"}]}. `rules` is the "
           "path "
           "of the rule file, or built-in. Each of `hosts` has `target`, `rule`, `state` (closed, open, "
           "half-open), `held` (open, closed, or null), `probe_in_ms`, `probe_pid` (who probes; 0: nobody), "
           "`failures_in_a_row`, `openings_in_a_row`, `idle_ms`, `served_by` (which rung of its rule's "
           "ladder served it last: full, host, stale, respond, addresses, error), `served_ago_ms`, "
           "`spared_ms` (how long calls waited that "
           "would not have, were their rule enforced), `connect` and `first_byte` (how long connect calls "
           "that succeeded took, and answers to begin, of programs that do not block a sample after the "
           "first 1000: `count`, `p50_ms`, `p99_ms`, `sum_ms`), and its "
           "counters:\n"
           "\n"
#define COUNT(name, text, help) "  " text ": " help "\n"
    HOST_COUNTS(COUNT)
#undef COUNT
        "\n"
        "`events` counts by name what `resil log` shows, and `passed_through` why calls were left alone or "
        "done in part only:\n"
        "\n"
#define PASSED_REASON(name, text, help) "  " text ": " help "\n"
    PASSED_REASONS(PASSED_REASON)
#undef PASSED_REASON
        "\n"
        "Keys are not renamed or taken away; new ones may come.\n"
        "\n"
        "Exit status: 0 shown, even if there was nothing; 2 wrong usage.",
};

int status_command(int argc, char **argv)
{
    struct request request = {.rules = NULL};
    if (argp_parse(&parser, argc, argv, 0, NULL, &request) != 0)
        return STATUS_UNUSABLE;
    struct segments segments = segments_begin(request.rules);
    bool is_on_screen = request.is_watching && !request.is_json && isatty(STDOUT_FILENO);
    if (request.is_watching)
        watch_begin();
    if (is_on_screen)
        printf("\033[2J");
    do {
        if (is_on_screen)
            show_on_screen(&request, &segments);
        else
            show(&request, &segments);
    } while (request.is_watching && watch_on(request.every_ns));
    if (is_on_screen)
        putchar('\n');
    segments_end(&segments);
    return STATUS_GOOD;
}

/* Over what stood there before, and no more than there is room for: what comes first matters most, and must not be scrolled
 * away. */
static void show_on_screen(const struct request *request, struct segments *segments)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < 2 || !size.ws_col)
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    char *text = NULL, *rest = NULL;
    size_t length = 0, used = 0, left = 0;
    FILE *terminal = stdout, *memory = open_memstream(&text, &length);
    if (!memory)
        return;
    stdout = memory;
    show(request, segments);
    stdout = terminal;
    fclose(memory);
    printf("\033[H");
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        size_t lines = (printable_width(line) + size.ws_col - 1) / size.ws_col;
        used += lines ? lines : 1;
        if (used < size.ws_row)
            printf("%s\033[K\n", line);
        else
            left++;
    }
    printf("\033[J");
    if (left)
        printf("-- %s more: resil status has them, resil top is made for the screen",
               counted(left, "line").text);
    fflush(stdout);
    free(text);
}

static void show(const struct request *request, struct segments *segments)
{
    segments_scan(segments);
    struct json_object *reports = request->is_json ? json_object_new_array() : NULL;
    bool is_next = false;
    for (size_t i = 0; i < segments->count; i++) {
        if (!segments->files[i]->segment)
            continue;
        if (request->is_json) {
            json_object_array_add(reports, segment_report(segments->files[i]));
            continue;
        }
        if (is_next)
            putchar('\n');
        is_next = true;
        segment_print(segments->files[i]);
    }
    if (request->is_json) {
        struct json_object *all = json_new();
        json_object_object_add(all, "rule_files", reports);
        (request->is_watching ? json_print_line : json_print)(all, stdout);
    } else if (!is_next) {
        segments_explain_nothing(segments);
    }
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    switch (key) {
    case 'r':
        request->rules = argument;
        return 0;
    case 'j':
        request->is_json = true;
        return 0;
    case 'w':
        request->is_watching = true;
        request->every_ns = NS_PER_S;
        if (argument && (!duration_parse(argument, &request->every_ns) || request->every_ns == 0))
            argp_error(state, "--watch: \"%s\" is not a duration (write --watch=2s)", argument);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is too much (a rule file is named with --rules)", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}
