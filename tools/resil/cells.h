/* Figures in a few columns, for people. Each writes to `text` and gives it. */
#ifndef RESIL_CELLS_H
#define RESIL_CELLS_H

#include <stddef.h>
#include <stdint.h>

#include "hosts.h"

/* In at most so many columns, 4 or 5: "12345", "123k", "1.2M". */
const char *cell_count(char *text, size_t capacity, uint64_t count, unsigned columns);

/* In at most 6: "0", "0.3", "12", "12.3k". */
const char *cell_rate(char *text, size_t capacity, double per_s);

/* In at most 5: "850us", "1.2ms", "42s"; "-" of nothing. */
const char *cell_time(char *text, size_t capacity, uint64_t count, uint64_t ns);

/* In at most 9: "closed", "open 4.2s", "probe due", "held open". */
const char *cell_state(char *text, size_t capacity, const struct host_view *host);

/* In at most 6: by which rung of its rule's ladder it was served last. "full" is the host itself; "-" of one
 * that nobody gets to and that has no other rung. */
const char *cell_rung(const struct host_view *host);

/* In `width` columns, its end in any case: that is the port. */
const char *cell_target(char *text, size_t capacity, const char *target, int width);

#endif
