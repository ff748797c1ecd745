#include "wrap.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "printable.h"

void print_wrapped(const char *text, size_t column, size_t indent, FILE *to)
{
    char *words = copy_of(text), *rest = NULL;
    bool is_first = true;
    for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        size_t width = printable_width(word);
        if (!is_first && column + 1 + width > LINE_COLUMNS) {
            fprintf(to, "\n%*s", (int)indent, "");
            column = indent;
            is_first = true;
        }
        fprintf(to, "%s%s", is_first ? "" : " ", word);
        column += width + !is_first;
        is_first = false;
    }
    fputc('\n', to);
    free(words);
}
