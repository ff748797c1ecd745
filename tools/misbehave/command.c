#include "command.h"

#include "connection.h"
#include "control.h"
#include "counts.h"
#include "loop.h"
#include "mode.h"
#include "server.h"
#include "words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char control_help[] =
    "Control: each line sent to the socket --control is a command and gets one line of answer.\n"
    "  mode MODE [OPTIONS]     switches; connections that are open keep the behaviour they began with.\n"
    "                          Words may be quoted: mode answer --body 'not now'     -> ok\n"
    "  count                   -> {\"accepted\":N,\"requests\":N,\"bytes\":N,\"open\":N,\"answered\":N}\n"
    "                          accepted: connections; requests: whose blank line came in (reset, close: "
    "whose\n"
    "                          first bytes came in); bytes: read; open: connections now; answered: whole "
    "answers\n"
    "  reset-count             all but `open` to 0     -> ok\n"
    "  release                 answers what `hold` or `answer --delay` holds back     -> ok\n"
    "  wait COUNT N MS         until COUNT (accepted, requests, bytes, answered: at least N; open: has come "
    "up or\n"
    "                          down to N)     -> ok, or `timeout` after MS milliseconds\n"
    "  quit                    -> ok, and the server ends\n"
    "What cannot be done gets `error: WHY`.\n";

/* A command writes its answer, unless that is `ok`, or says in `problem` why it cannot be done. */
typedef bool obey_function(int count, char **words, char *answer, struct command_wait *wait,
                           struct problem *problem);

static obey_function obey_mode, obey_count, obey_reset_count, obey_release, obey_wait, obey_quit;

static const struct command_row {
    const char *name;
    int least_words, most_words;
    obey_function *obey;
} commands[] = {
    {"mode", 1, 64, obey_mode},      {"count", 1, 1, obey_count}, {"reset-count", 1, 1, obey_reset_count},
    {"release", 1, 1, obey_release}, {"wait", 4, 4, obey_wait},   {"quit", 1, 1, obey_quit},
};

size_t command_answer(char *answer, const char *text)
{
    int size = snprintf(answer, COMMAND_ANSWER_SIZE, "%.*s\n", COMMAND_ANSWER_SIZE - 2, text);
    return (size_t)size;
}

static bool obey(char *line, char *answer, struct command_wait *wait, struct problem *problem)
{
    char *words[64];
    int count = words_split(line, words, 64);
    if (count < 0) {
        problem_say(problem, "a quote is not closed, or there are more than 64 words");
        return false;
    }
    for (size_t i = 0; count > 0 && i < sizeof commands / sizeof *commands; i++) {
        const struct command_row *command = &commands[i];
        if (strcmp(command->name, words[0]) != 0)
            continue;
        if (count >= command->least_words && count <= command->most_words)
            return command->obey(count, words, answer, wait, problem);
        problem_say(problem, "%s takes %d words after it, got %d", words[0], command->least_words - 1,
                    count - 1);
        return false;
    }
    problem_say(problem, "unknown command '%.40s': say mode, count, reset-count, release, wait or quit",
                count > 0 ? words[0] : "");
    return false;
}

size_t command_obey(char *line, char *answer, struct command_wait *wait)
{
    struct problem problem;
    char text[COMMAND_ANSWER_SIZE] = "ok";
    if (!obey(line, text, wait, &problem))
        snprintf(text, sizeof text, "error: %s", problem.text);
    return command_answer(answer, text);
}

bool command_wait_is_over(const struct command_wait *wait)
{
    return wait->is_falling ? *wait->count <= wait->target : *wait->count >= wait->target;
}

static bool obey_mode(int count, char **words, char *answer, struct command_wait *wait,
                      struct problem *problem)
{
    (void)answer, (void)wait;
    struct mode *mode = mode_parse(count - 1, words + 1, problem);
    return mode && server_switch(mode, problem);
}

static bool obey_count(int count, char **words, char *answer, struct command_wait *wait,
                       struct problem *problem)
{
    (void)count, (void)words, (void)wait, (void)problem;
    counts_print(answer, COMMAND_ANSWER_SIZE);
    return true;
}

static bool obey_reset_count(int count, char **words, char *answer, struct command_wait *wait,
                             struct problem *problem)
{
    (void)count, (void)words, (void)answer, (void)wait, (void)problem;
    counts_reset();
    return true;
}

static bool obey_release(int count, char **words, char *answer, struct command_wait *wait,
                         struct problem *problem)
{
    (void)count, (void)words, (void)answer, (void)wait, (void)problem;
    connections_release();
    return true;
}

static bool read_number(const char *text, uint64_t most, uint64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *value <= most;
}

static bool obey_wait(int count, char **words, char *answer, struct command_wait *wait,
                      struct problem *problem)
{
    (void)count, (void)answer;
    struct command_wait asked = {.count = counts_find(words[1])};
    uint64_t milliseconds;
    if (!asked.count || !read_number(words[2], UINT64_MAX, &asked.target) ||
        !read_number(words[3], 86400000, &milliseconds)) {
        problem_say(problem,
                    "say wait COUNT N MS: COUNT one of accepted, requests, bytes, open, answered, N and MS "
                    "whole numbers");
        return false;
    }
    asked.is_falling = asked.count == &counts.open && *asked.count > asked.target;
    asked.until = now_ns() + milliseconds * MILLISECOND;
    if (!command_wait_is_over(&asked))
        *wait = asked;
    return true;
}

static bool obey_quit(int count, char **words, char *answer, struct command_wait *wait,
                      struct problem *problem)
{
    (void)count, (void)words, (void)answer, (void)wait, (void)problem;
    loop_stop();
    return true;
}
