#ifndef MISBEHAVE_CONTROL_H
#define MISBEHAVE_CONTROL_H

#include "problem.h"

#include <stdbool.h>
#include <stddef.h>

/* The control socket: an AF_UNIX stream on which each line is a command and gets one line of answer. */

/* How many may be connected to it at once; more wait. */
#define CONTROL_MOST_CLIENTS 64

/* A socket left behind by a dead server is replaced. */
bool control_open(const char *path, struct problem *problem);
void control_close(void);

/* Answers the `wait` commands whose count has been reached. To be called when counts may have changed. */
void control_check_waits(void);

/* What --help says about commands. */
extern const char control_help[];

#endif
