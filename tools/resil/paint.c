#include "paint.h"

#include <stdlib.h>

#include "printable.h"

static bool has_palette(void);

bool paint_begin(void)
{
    if (!newterm(NULL, stdout, stdin))
        return false;
    cbreak();
    noecho();
    keypad(stdscr, TRUE);
    set_escdelay(50); /* a lone escape means go back: not to be waited for long */
    curs_set(0);
    if (has_palette()) {
        start_color();
        use_default_colors();
        init_pair(COLOR_OPEN, COLOR_RED, -1);
        init_pair(COLOR_HALF_OPEN, COLOR_YELLOW, -1);
        init_pair(COLOR_HELD, COLOR_MAGENTA, -1);
        init_pair(COLOR_CLOSED, COLOR_GREEN, -1);
        init_pair(COLOR_QUIET, COLOR_CYAN, -1);
    }
    return true;
}

void paint_end(void)
{
    endwin();
}

void put(const char *text, int width)
{
    int room = COLS - getcurx(stdscr), used = (int)printable_width(text);
    if (width > room)
        width = room;
    if (used <= width) {
        addstr(text);
    } else if (width > 0) {
        addnstr(text, width - 1); /* bytes: what is wider than a byte each is cut early */
        addch('~');
    }
    for (; used < width; used++)
        addch(' ');
}

void put_right(const char *text, int width)
{
    if (getcurx(stdscr) + width > COLS)
        return;
    for (int used = (int)printable_width(text); used < width; used++)
        addch(' ');
    addstr(text);
}

void put_rule(int line, int width, bool is_ascii)
{
    move(line, 0);
    for (int i = 0; i < width; i++)
        addstr(is_ascii ? "-" : "─");
}

attr_t colored(enum paint_color color, attr_t otherwise)
{
    return has_palette() ? (attr_t)COLOR_PAIR(color) | otherwise : otherwise;
}

static bool has_palette(void)
{
    return !getenv("NO_COLOR") && has_colors();
}
