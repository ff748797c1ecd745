/* How `resil top` looks. */
#ifndef RESIL_SCREEN_H
#define RESIL_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

#include "pace.h"

enum screen_order { ORDER_NEED, ORDER_CALLS, ORDER_FAILURES, ORDER_SLOWEST, ORDER_NAME, ORDERS };

struct screen {
    const struct paces *paces;
    const struct pace **rows; /* those that are shown, in their order */
    size_t row_count;
    size_t chosen;    /* a row */
    size_t first;     /* row on the screen; screen_draw keeps the chosen one on it */
    const char *find; /* what is in the names of all rows; empty: anything */
    enum screen_order order;
    bool is_paused;
    bool is_ascii;       /* the terminal has no others */
    const char *message; /* in the last line, instead of the keys; NULL: none */
    const char *nothing; /* why there are no hosts at all */
};

/* False: this terminal cannot do it. */
bool screen_begin(void);
void screen_end(void);

void screen_draw(struct screen *screen);

const char *screen_order_name(enum screen_order order);

#endif
