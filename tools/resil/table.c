#include "table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "printable.h"
#include "wrap.h"

#define GAP         2
#define WIDEST      44
#define NOTE_INDENT 4

static struct table_row *add(struct table *table);
static size_t width_of(const struct table *table, size_t column);
static void print_row(const struct table *table, const struct table_row *row, const size_t *widths, FILE *to);

struct table table_begin(const char *alignment)
{
    return (struct table){.columns = strlen(alignment), .alignment = alignment, .widest = WIDEST};
}

void table_row(struct table *table, ...)
{
    struct table_row *row = add(table);
    va_list cells;
    va_start(cells, table);
    for (size_t i = 0; i < table->columns; i++)
        row->cells[i] = copy_of(va_arg(cells, const char *));
    va_end(cells);
}

void table_note(struct table *table, char *text)
{
    add(table)->note = text;
}

void table_end(struct table *table, FILE *to)
{
    size_t widths[TABLE_COLUMNS_MAX];
    for (size_t i = 0; i < table->columns; i++)
        widths[i] = width_of(table, i);
    for (size_t i = 0; i < table->count; i++) {
        struct table_row *row = &table->rows[i];
        if (row->note)
            fprintf(to, "%*s", NOTE_INDENT, ""), print_wrapped(row->note, NOTE_INDENT, NOTE_INDENT, to);
        else
            print_row(table, row, widths, to);
        free(row->note);
        for (size_t column = 0; column < table->columns; column++)
            free(row->cells[column]);
    }
    free(table->rows);
    *table = (struct table){0};
}

static struct table_row *add(struct table *table)
{
    if (table->count % 16 == 0)
        table->rows = grow(table->rows, (table->count + 16) * sizeof *table->rows);
    struct table_row *row = &table->rows[table->count++];
    *row = (struct table_row){.note = NULL};
    return row;
}

static size_t width_of(const struct table *table, size_t column)
{
    size_t most = 0;
    for (size_t i = 0; i < table->count; i++) {
        size_t width = table->rows[i].cells[column] ? printable_width(table->rows[i].cells[column]) : 0;
        if (width > most && width <= table->widest)
            most = width;
    }
    return most;
}

static void print_row(const struct table *table, const struct table_row *row, const size_t *widths, FILE *to)
{
    size_t last = table->columns;
    while (last > 0 && !row->cells[last - 1][0])
        last--;
    size_t column = 0;
    for (size_t i = 0; i < last; i++) {
        size_t width = printable_width(row->cells[i]);
        int missing = width < widths[i] ? (int)(widths[i] - width) : 0;
        int before = table->alignment[i] == 'r' ? missing : 0;
        int after = missing - before + GAP;
        fprintf(to, "%*s", before, "");
        column += (size_t)before;
        if (i + 1 == last) {
            print_wrapped(row->cells[i], column, column, to);
            return;
        }
        fprintf(to, "%s%*s", row->cells[i], after, "");
        column += width + (size_t)after;
    }
    fputc('\n', to);
}
