/* Columns that are as wide as what stands in them. */
#ifndef RESIL_TABLE_H
#define RESIL_TABLE_H

#include <stddef.h>
#include <stdio.h>

enum { TABLE_COLUMNS_MAX = 8 };

struct table {
    size_t columns;
    const char *alignment; /* 'l' or 'r' for each column */
    struct table_row {
        char *cells[TABLE_COLUMNS_MAX]; /* the first is NULL for a note */
        char *note;
    } * rows;
    size_t count;
    size_t widest; /* a longer text pushes its own row aside, not all of them */
};

/* `alignment` says how many columns there are: "llr". */
struct table table_begin(const char *alignment);

/* One row: as many texts as there are columns, copied. */
void table_row(struct table *table, ...);

/* A line between the rows, on which no column depends, indented; takes the text over. */
void table_note(struct table *table, char *text);

/* Prints and forgets all of it. Nothing follows the last text of a line; one that would reach beyond 80 columns goes on
 * below where it begins. */
void table_end(struct table *table, FILE *to);

#endif
