/* What all screens of `resil top` are painted with. */
#ifndef RESIL_PAINT_H
#define RESIL_PAINT_H

#include <ncurses.h>
#include <stdbool.h>

enum paint_color { COLOR_OPEN = 1, COLOR_HALF_OPEN, COLOR_HELD, COLOR_CLOSED, COLOR_QUIET };

/* False: this terminal cannot do it. */
bool paint_begin(void);
void paint_end(void);

/* As much of a text as there is room for, and blanks for the rest. */
void put(const char *text, int width);
/* To the right; nothing where there is no room for all of it. */
void put_right(const char *text, int width);

/* A blank line drawn through. */
void put_rule(int line, int width, bool is_ascii);

/* Words say it where colours cannot. */
attr_t colored(enum paint_color color, attr_t otherwise);

#endif
