/* Commands that go on showing until somebody has seen enough. */
#ifndef RESIL_WATCH_H
#define RESIL_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/* From now on an interrupt, or a reader who has gone, ends the watch and not the program. */
void watch_begin(void);

/* Writes out what was printed and waits for the next look. False: it is over. */
bool watch_on(uint64_t wait_ns);

/* For those who wait by other means. */
bool watch_is_over(void);

#endif
