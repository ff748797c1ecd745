#include "mode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char mode_help[] =
    "Modes:\n"
    "  answer [--body TEXT] [--delay MS] [--status N] [--keep-alive]\n"
    "                          answers each HTTP request, MS milliseconds after it has come in whole\n"
    "  hold [--body TEXT] [--status N] [--keep-alive]\n"
    "                          the same, but each request waits for the control command `release`\n"
    "  echo                    sends back what it gets\n"
    "  refuse                  reserves the port but does not listen: ECONNREFUSED\n"
    "  blackhole               leaves SYNs unanswered (the backlog is full)\n"
    "  hang                    accepts and reads, never answers\n"
    "  reset [--after-bytes N] [--at-accept]\n"
    "                          sends N bytes of an answer when a request begins to come in, then RST;\n"
    "                          with --at-accept it does not wait for the request (a non-blocking client may\n"
    "                          then see ECONNRESET from its connect already)\n"
    "  close [--after-bytes N] [--at-accept]\n"
    "                          the same with FIN\n"
    "  slow [--rate BYTES_PER_S] [--size N] [--status N]\n"
    "                          the head of an answer at once, then N bytes of body at that rate\n"
    "  drain [--rate BYTES_PER_S] [--body TEXT] [--status N]\n"
    "                          reads at that rate, answers when the request has come in whole\n"
    "  up-after MS MODE ...    refuse for MS milliseconds, then MODE\n"
    "Unless told otherwise: --body 'misbehave\\n', --delay 0, --status 200, --after-bytes 0, --rate 1000,\n"
    "--size 10000. Without --keep-alive an answer ends the connection. A client that closes its side while "
    "it\n"
    "waits for an answer has given up: its connection is closed and not answered.\n";

static const struct kind_row {
    const char *name;
    enum mode_kind kind;
} kinds[] = {
    {"answer", MODE_ANSWER}, {"hold", MODE_HOLD},   {"echo", MODE_ECHO},   {"refuse", MODE_REFUSE},
    {"hang", MODE_HANG},     {"reset", MODE_RESET}, {"close", MODE_CLOSE}, {"blackhole", MODE_BLACKHOLE},
    {"slow", MODE_SLOW},     {"drain", MODE_DRAIN},
};

#define IN(kind)  (1u << MODE_##kind)
#define FIELD(of) offsetof(struct mode, of)

enum option_type { OPTION_FLAG, OPTION_NUMBER, OPTION_TEXT };

static const struct option_row {
    const char *name;
    enum option_type type;
    size_t field;
    unsigned kinds; /* the modes that know this option */
    uint64_t least, most;
} options[] = {
    {"--body", OPTION_TEXT, FIELD(body), IN(ANSWER) | IN(HOLD) | IN(DRAIN), 0, 0},
    {"--delay", OPTION_NUMBER, FIELD(delay_ms), IN(ANSWER), 0, 86400000},
    {"--status", OPTION_NUMBER, FIELD(status), IN(ANSWER) | IN(HOLD) | IN(SLOW) | IN(DRAIN), 200, 599},
    {"--keep-alive", OPTION_FLAG, FIELD(keep_alive), IN(ANSWER) | IN(HOLD), 0, 0},
    {"--after-bytes", OPTION_NUMBER, FIELD(after_bytes), IN(RESET) | IN(CLOSE), 0, UINT64_C(1) << 40},
    {"--at-accept", OPTION_FLAG, FIELD(at_accept), IN(RESET) | IN(CLOSE), 0, 0},
    {"--rate", OPTION_NUMBER, FIELD(rate), IN(SLOW) | IN(DRAIN), 1, UINT64_C(10000000000)},
    {"--size", OPTION_NUMBER, FIELD(size), IN(SLOW), 0, UINT64_C(1) << 40},
};

static bool parse_start(struct mode *mode, int *at, int count, char *const *words, struct problem *problem);
static bool parse_option(struct mode *mode, int *at, int count, char *const *words, struct problem *problem);
static bool parse_number(const char *name, const char *text, uint64_t least, uint64_t most, uint64_t *value,
                         struct problem *problem);
static bool compose_answer(struct mode *mode);

struct mode *mode_parse(int count, char *const *words, struct problem *problem)
{
    struct mode *mode = calloc(1, sizeof *mode);
    if (!mode) {
        problem_say(problem, "no memory for a mode");
        return NULL;
    }
    *mode = (struct mode){.references = 1, .status = 200, .rate = 1000, .size = 10000};
    int at = 0;
    bool is_good = parse_start(mode, &at, count, words, problem);
    while (is_good && at < count)
        is_good = parse_option(mode, &at, count, words, problem);
    if (is_good && !compose_answer(mode)) {
        problem_say(problem, "no memory for the answer's text");
        is_good = false;
    }
    if (is_good)
        return mode;
    mode_release(mode);
    return NULL;
}

struct mode *mode_share(struct mode *mode)
{
    mode->references++;
    return mode;
}

void mode_release(struct mode *mode)
{
    if (!mode || --mode->references > 0)
        return;
    free(mode->body);
    free(mode);
}

/* `[up-after MS] MODE` */
static bool parse_start(struct mode *mode, int *at, int count, char *const *words, struct problem *problem)
{
    if (*at < count && strcmp(words[*at], "up-after") == 0) {
        const char *time = *at + 1 < count ? words[*at + 1] : NULL;
        if (!parse_number("up-after", time, 0, 86400000, &mode->up_after_ms, problem))
            return false;
        *at += 2;
    }
    if (*at >= count) {
        problem_say(problem,
                    "no mode given: say one of answer, hold, echo, refuse, blackhole, hang, reset, close, "
                    "slow, drain, or up-after MS and one of these");
        return false;
    }
    const char *name = words[(*at)++];
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0) {
            mode->kind = kinds[i].kind;
            return true;
        }
    problem_say(
        problem,
        "unknown mode '%.60s': say one of answer, hold, echo, refuse, blackhole, hang, reset, close, slow, "
        "drain, or up-after MS and one of these",
        name);
    return false;
}

static const char *kind_name(enum mode_kind kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].kind == kind)
            return kinds[i].name;
    return "?";
}

static const struct option_row *find_option(const struct mode *mode, const char *name,
                                            struct problem *problem)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(options[i].name, name) == 0 && options[i].kinds & 1u << mode->kind)
            return &options[i];
    char known[160] = "";
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].kinds & 1u << mode->kind) {
            strcat(known, " ");
            strcat(known, options[i].name);
        }
    if (*known)
        problem_say(problem, "'%.60s' is no option of %s, which takes:%s", name, kind_name(mode->kind),
                    known);
    else
        problem_say(problem, "'%.60s' is too much: %s takes no options", name, kind_name(mode->kind));
    return NULL;
}

static bool parse_option(struct mode *mode, int *at, int count, char *const *words, struct problem *problem)
{
    const struct option_row *option = find_option(mode, words[(*at)++], problem);
    if (!option)
        return false;
    void *field = (char *)mode + option->field;
    if (option->type == OPTION_FLAG) {
        *(bool *)field = true;
        return true;
    }
    const char *value = *at < count ? words[(*at)++] : NULL;
    if (option->type == OPTION_NUMBER)
        return parse_number(option->name, value, option->least, option->most, field, problem);
    if (!value) {
        problem_say(problem, "%s needs a text after it", option->name);
        return false;
    }
    free(*(char **)field);
    *(char **)field = strdup(value);
    if (!*(char **)field)
        problem_say(problem, "no memory for the text of %s", option->name);
    return *(char **)field != NULL;
}

/* text may be NULL: there was no further word. */
static bool parse_number(const char *name, const char *text, uint64_t least, uint64_t most, uint64_t *value,
                         struct problem *problem)
{
    char *end = NULL;
    /* strtoull would take " -1" for a large number. */
    if (text && *text >= '0' && *text <= '9') {
        errno = 0;
        *value = strtoull(text, &end, 10);
        if (*end == '\0' && errno == 0 && *value >= least && *value <= most)
            return true;
    }
    problem_say(problem, "%s needs a whole number from %" PRIu64 " to %" PRIu64 " after it, got %s%.40s",
                name, least, most, text ? "" : "nothing", text ? text : "");
    return false;
}

static const char *reason(uint64_t status)
{
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 302:
        return "Found";
    case 404:
        return "Not Found";
    case 429:
        return "Too Many Requests";
    case 500:
        return "Internal Server Error";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "As Told";
    }
}

static bool compose_answer(struct mode *mode)
{
    bool is_cut = mode->kind == MODE_RESET || mode->kind == MODE_CLOSE;
    bool is_filler = is_cut || mode->kind == MODE_SLOW;
    if (!is_filler && !mode->body && !(mode->body = strdup("misbehave\n")))
        return false;
    /* A cut answer announces more than it sends, so that no client takes it for a whole one. */
    mode->body_size = is_cut ? mode->after_bytes + 1024 : is_filler ? mode->size : strlen(mode->body);

    char length[48] = "";
    if (mode->status == 204 || mode->status == 304)
        mode->body_size = 0;
    else
        snprintf(length, sizeof length, "Content-Length: %" PRIu64 "\r\n", mode->body_size);
    int size =
        snprintf(mode->head, sizeof mode->head,
                 "HTTP/1.1 %" PRIu64 " %s\r\nContent-Type: text/plain\r\n%sConnection: %s\r\n\r\n",
                 mode->status, reason(mode->status), length, mode->keep_alive ? "keep-alive" : "close");
    mode->head_size = (size_t)size;
    mode->send_size = is_cut ? mode->after_bytes : mode->head_size + mode->body_size;
    return true;
}
