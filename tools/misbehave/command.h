#ifndef MISBEHAVE_COMMAND_H
#define MISBEHAVE_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What can be said through the control socket. */

#define COMMAND_ANSWER_SIZE 512

/* A `wait` that is not over yet. */
struct command_wait {
    const uint64_t *count; /* NULL: nothing is waited for */
    uint64_t target;
    bool is_falling; /* the count was above the target at first */
    uint64_t until;  /* CLOCK_MONOTONIC, ns */
};

/* Obeys a line, which is changed, and writes the answer with its newline; returns its size. A `wait` whose
 * count has not been reached fills in `wait` instead. */
size_t command_obey(char *line, char *answer, struct command_wait *wait);

bool command_wait_is_over(const struct command_wait *wait);

/* Writes `text` as an answer; returns its size. */
size_t command_answer(char *answer, const char *text);

#endif
