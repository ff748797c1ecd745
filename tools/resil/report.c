/* resil report: one page for people who were not there. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json_out.h"
#include "message.h"
#include "report_data.h"
#include "report_page.h"
#include "rules/units.h"
#include "segments.h"

/* Where the data goes in the page. */
#define PLACE "@DATA@"

struct request {
    const char *rules, *output;
    uint64_t since_ns;
    bool is_json;
};

static error_t parse_option(int key, char *argument, struct argp_state *state);
static int write_page(const char *path, struct json_object *data);
static void print_page(struct json_object *data, FILE *to);

enum { OPTION_SINCE = 256 };
static const struct argp_option options[] = {
    {"rules", 'r', "FILE", 0, "Only programs with this rule file", 0},
    {"output", 'o', "FILE", 0, "Write the page there (report.html); -: to standard output", 0},
    {"since", OPTION_SINCE, "TIME", 0, "Events of the last TIME: 30m, 24h", 0},
    {"json", 'j', NULL, 0, "Print what the page shows as JSON instead", 0},
    {0},
};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .doc = "Writes one HTML page of what libresil did for the programs of this user: for each host its "
           "circuit over time, and when calls were retried, rejected or failed; how long connects and "
           "answers took; what rules that are not enforced would have spared; and programs that call over "
           "and over what fails, without a growing pause."
           "\v"
           "The page is one file, and loads nothing. It shows what the flight recorder still has (the last "
           "4096 events of each rule file); counters and latencies are since the state began.\n"
           "\n"
           "Exit status: 0 written; 2 wrong usage, or the file cannot be written.",
};

int report_command(int argc, char **argv)
{
    struct request request = {.output = "report.html"};
    if (argp_parse(&parser, argc, argv, 0, NULL, &request) != 0)
        return STATUS_UNUSABLE;
    struct segments segments = segments_begin(request.rules);
    segments_scan(&segments);
    size_t readable = segments_readable(&segments);
    struct json_object *data = report_data(&segments, request.since_ns);
    int status = STATUS_GOOD;
    if (request.is_json) {
        json_print(data, stdout);
    } else if (strcmp(request.output, "-") == 0) {
        print_page(data, stdout);
    } else {
        status = write_page(request.output, data);
        if (status == STATUS_GOOD)
            printf("%s is written.\n", request.output);
        if (status == STATUS_GOOD && !readable)
            segments_explain_nothing(&segments);
    }
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
    case 'o':
        request->output = argument;
        return 0;
    case OPTION_SINCE:
        if (!duration_parse(argument, &request->since_ns) || request->since_ns == 0)
            argp_error(state, "--since: \"%s\" is not a duration (write 30m or 24h)", argument);
        return 0;
    case 'j':
        request->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is too much (the page's file is named with -o)", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Aside, and renamed: whoever looks at it sees a whole page. */
static int write_page(const char *path, struct json_object *data)
{
    char *aside = formatted("%s.new", path);
    FILE *to = fopen(aside, "we");
    int error = to ? 0 : errno;
    if (to) {
        print_page(data, to);
        bool is_lost = ferror(to);
        error = fclose(to) != 0 || is_lost ? errno : 0;
        if (!error && rename(aside, path) != 0)
            error = errno;
        if (error)
            remove(aside);
    }
    if (error)
        complain("%s cannot be written: %s", path, strerror(error));
    free(aside);
    return error ? STATUS_UNUSABLE : STATUS_GOOD;
}

/* "<" stands in texts only; as it is, one of them could end the script that the data is in. */
static void print_page(struct json_object *data, FILE *to)
{
    const char *page = (const char *)report_page, *place = strstr(page, PLACE);
    fwrite(page, 1, (size_t)(place - page), to);
    for (const char *at = json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN); *at; at++)
        if (*at == '<')
            fputs("\\u003c", to);
        else
            fputc(*at, to);
    fputs(place + strlen(PLACE), to);
    json_object_put(data);
}
