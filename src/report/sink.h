/* Where log lines go: RESIL_LOG=stderr, a file, or off. Never in the way of the program: a line that cannot be written
 * at once is dropped, and the caller counts it. */
#ifndef REPORT_SINK_H
#define REPORT_SINK_H

#include <stdbool.h>
#include <stddef.h>

#include "report/event.h"

/* `where`: "stderr", "off", "" or the path of a file. Notes what fd 2 is now; a program may put it to other use. */
void sink_begin(const char *where);

bool sink_is_on(void);

enum sunk {
    SUNK_WRITTEN, /* or there is no log */
    SUNK_LOST,    /* it could not be written at once */
    SUNK_THINNED, /* one of too many lines of this process in a second; a later line says how many were left out */
};

/* Writes the event as one line, with one write: as a sentence to stderr; with time, program and process before it to a
 * file, which many write to. errno is untouched. */
enum sunk sink_event(const struct event *event);

/* One line (with its newline) that is no event, to where the log goes. False when it was dropped. errno is untouched. */
bool sink_write(const char *line, size_t length);

/* The same to fd 2, wherever the log goes: for what the user must be told. */
bool sink_write_stderr(const char *line, size_t length);

#endif
