/* Where log lines go: RESIL_LOG=stderr, a file, or off. Never in the way of the program: a line that cannot be written
 * at once is dropped, and the caller counts it. */
#ifndef REPORT_SINK_H
#define REPORT_SINK_H

#include <stdbool.h>
#include <stddef.h>

/* `where`: "stderr", "off", "" or the path of a file. Notes what fd 2 is now; a program may put it to other use. */
void sink_begin(const char *where);

bool sink_is_on(void);

/* Writes one line (with its newline) in one write. False when it was dropped. errno is untouched. */
bool sink_write(const char *line, size_t length);

/* The same to fd 2, wherever the log goes: for what the user must be told. */
bool sink_write_stderr(const char *line, size_t length);

#endif
