/* What of a program's calls libresil covers: one table, by the libc functions that programs use. */
#ifndef RESIL_COVERAGE_H
#define RESIL_COVERAGE_H

#include <stdbool.h>
#include <stddef.h>

enum covered { COVERED, COVERED_PARTLY, COVERED_NOT };

struct coverage {
    const char *name; /* "waits" */
    enum covered covered;
    const char *text;
    const char *const *functions; /* up to NULL; empty: hooked functions that no other row has */
};
extern const struct coverage coverage_table[];
extern const size_t coverage_count;

/* The row of that function; -1 when it does not matter. */
int coverage_find(const char *function);

/* Does libresil stand in front of that function? */
bool coverage_is_hooked(const char *function);

/* "covered", "in part", "not seen" */
const char *covered_text(enum covered covered);

/* What programs that wait for their connections there must know; NULL when there is nothing. */
const char *coverage_of_waits(void);
bool coverage_is_wait(const char *function);

#endif
