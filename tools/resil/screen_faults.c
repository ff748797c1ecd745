/* The faults of all rule files in use, and who has switched them. */
#include <stdio.h>
#include <string.h>

#include "cells.h"
#include "paint.h"
#include "screen.h"

#define HEAD_LINES     2
#define DETAIL_LINES   4
#define NAME_LEAST     20
#define NAME_MOST      40
#define SWITCHED_WIDTH 12

static void draw_row(const struct listed_fault *fault, int name, int width, bool is_chosen);
static void draw_detail(const struct screen *screen, const struct listed_fault *fault, int line, int width);
static attr_t look_of(const struct listed_fault *fault);

void screen_draw_faults(struct screen *screen)
{
    const struct fault_list *list = screen->faults;
    int height = LINES, width = COLS, name = NAME_LEAST;
    for (size_t i = 0; i < list->count; i++)
        if (strlen(list->faults[i].name) > (size_t)name)
            name = (int)strlen(list->faults[i].name);
    int most = width > 100 ? NAME_MOST : NAME_LEAST;
    name = name < most ? name : most;

    char line[100];
    snprintf(line, sizeof line, "resil top  %zu fault%s of the rule files in use  %zu on by hand%s",
             list->count, list->count == 1 ? "" : "s", screen->faults_on,
             screen->is_paused ? "  paused" : "");
    attron(A_BOLD);
    mvaddnstr(0, 0, line, width);
    attroff(A_BOLD);
    move(1, 0);
    attron(A_UNDERLINE);
    put("FAULT", name);
    put(" SWITCHED", SWITCHED_WIDTH + 1);
    put_right("FIRED", 6);
    put_right("PLACES", 8);
    put("  WHAT", width - getcurx(stdscr));
    attroff(A_UNDERLINE);

    int detail = list->count && height >= 8 + DETAIL_LINES ? DETAIL_LINES : 0;
    int room = screen_scroll(&screen->chosen_fault, &screen->first_fault, list->count,
                             height - HEAD_LINES - 1 - detail);
    for (int i = 0; i < room && screen->first_fault + (size_t)i < list->count; i++) {
        size_t number = screen->first_fault + (size_t)i;
        move(HEAD_LINES + i, 0);
        draw_row(&list->faults[number], name, width, number == screen->chosen_fault);
    }
    if (!list->count)
        mvaddnstr(HEAD_LINES + 1, 0,
                  screen->find[0] ? "No fault has that in its name."
                                  : "No rule file that programs have used has faults (faults: in it).",
                  width);
    if (detail)
        draw_detail(screen, &list->faults[screen->chosen_fault], height - 1 - detail, width);
}

static void draw_row(const struct listed_fault *fault, int name, int width, bool is_chosen)
{
    static const char *const switched[] = {"as armed", "on", "off"};
    char cell[64], until[80];
    attr_t look = look_of(fault);
    if (is_chosen)
        attron(A_REVERSE);
    put(cell_target(cell, sizeof cell, fault->name, name), name);
    addch(' ');
    bool is_for_a_time = strstr(fault->switched.text, " for another ");
    snprintf(until, sizeof until, "%s%s", switched[fault->steering], is_for_a_time ? " a while" : "");
    attron(look);
    put(until, SWITCHED_WIDTH);
    attroff(look);
    put_right(fault->fired ? cell_count(cell, sizeof cell, fault->fired, 5) : "never", 6);
    put_right(fault->places, 8);
    addstr("  ");
    put(fault->what.text, width - getcurx(stdscr));
    if (is_chosen)
        attroff(A_REVERSE);
}

static void draw_detail(const struct screen *screen, const struct listed_fault *fault, int line, int width)
{
    put_rule(line, width, screen->is_ascii);
    move(line + 1, 0);
    attron(A_BOLD);
    put(fault->name, width);
    attroff(A_BOLD);
    mvprintw(line + 2, 0, "%s  of ", fault->switched.text);
    put(fault->file->rules, width - getcurx(stdscr));
    move(line + 3, 0);
    put(fault->what.text, width);
}

static attr_t look_of(const struct listed_fault *fault)
{
    if (fault->steering == FAULT_AS_ARMED)
        return A_NORMAL;
    return fault->steering == FAULT_ON_BY_HAND ? colored(COLOR_OPEN, A_BOLD) : colored(COLOR_HELD, A_BOLD);
}
