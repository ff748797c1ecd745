/* Text for people in lines of at most 80 columns. */
#ifndef RESIL_WRAP_H
#define RESIL_WRAP_H

#include <stddef.h>
#include <stdio.h>

#define LINE_COLUMNS 80

/* Prints the text, broken at blanks, and a newline. `column` is where it begins; further lines begin at `indent`. What
 * has no blank (a path) is not broken. */
void print_wrapped(const char *text, size_t column, size_t indent, FILE *to);

#endif
