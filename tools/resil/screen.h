/* How `resil top` looks. */
#ifndef RESIL_SCREEN_H
#define RESIL_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

#include "fault_list.h"
#include "pace.h"

enum screen_order { ORDER_NEED, ORDER_CALLS, ORDER_FAILURES, ORDER_SLOWEST, ORDER_NAME, ORDERS };

enum screen_view { VIEW_HOSTS, VIEW_FAULTS, VIEW_HELP };

struct screen {
    enum screen_view view;
    bool is_of_faults; /* what help goes back to */
    const struct paces *paces;
    const struct pace **rows; /* those that are shown, in their order */
    size_t row_count;
    size_t chosen; /* a row */
    size_t first;  /* row on the screen; screen_draw keeps the chosen one on it */
    const struct fault_list *faults;
    size_t chosen_fault, first_fault; /* as above */
    size_t faults_on;                 /* that somebody has switched on */
    const char *find;                 /* what is in the names of all rows; empty: anything */
    enum screen_order order;
    bool is_paused;
    bool is_ascii;       /* the terminal has no others */
    const char *message; /* in the last line, instead of the keys; NULL: none */
    const char *nothing; /* why there are no hosts at all */
};

void screen_draw(struct screen *screen);

const char *screen_order_name(enum screen_order order);

/* The parts, each in a file of its own. */
void screen_draw_faults(struct screen *screen);
void screen_draw_help(const struct screen *screen);
void screen_draw_last(const struct screen *screen);

/* Keeps the chosen row of so many on the screen, and gives how many there is room for: at least one. */
int screen_scroll(size_t *chosen, size_t *first, size_t count, int room);

#endif
