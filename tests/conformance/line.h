/* For main.c only: where a line begins and ends. */
#ifndef LINE_H
#define LINE_H

void line_begin(const char *name);
void line_end(void);
extern int pipe_signals; /* SIGPIPEs in this cell */

#endif
