/* resil top: what its screen and its keys share. */
#ifndef RESIL_TOP_H
#define RESIL_TOP_H

#include <stdbool.h>
#include <stdint.h>

#include "fault_list.h"
#include "screen.h"
#include "segments.h"

struct top {
    const char *rules; /* only of this file; NULL: all */
    uint64_t every_ns;
    struct segments segments;
    struct paces paces;
    struct fault_list faults;
    struct screen screen;
    char find[40];
    char message[200];
    uint64_t look_ns; /* when next */
};

/* What the screen shows, after something has changed. */
void top_choose_rows(struct top *top);

/* Does what the key is for. False: that was the key to quit. */
bool top_press(struct top *top, int key);

#endif
