#include "preload_list.h"

#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "preload.h"

#define SEPARATORS ": \t\n"

static bool is_ours(const char *entry, size_t length);
static char *line_without(const char *line, size_t length, char *to);

bool preload_list_has(const char *text)
{
    char *without = preload_list_without(text);
    bool has = strcmp(text, without) != 0;
    free(without);
    return has;
}

char *preload_list_with(const char *text, const char *library)
{
    char *rest = preload_list_without(text), *all = formatted("%s\n%s", library, rest);
    free(rest);
    return all;
}

char *preload_list_without(const char *text)
{
    char *left = allocate(strlen(text) + 1), *end = left;
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n");
        length += line[length] == '\n';
        end = line_without(line, length, end);
        line += length;
    }
    *end = '\0';
    return left;
}

bool preload_list_is_empty(const char *text)
{
    return text[strspn(text, " \t\n")] == '\0';
}

/* Copies a line, but for our entries and the separator behind each. A line on which nothing else stood goes. */
static char *line_without(const char *line, size_t length, char *to)
{
    char *begin = to;
    bool has_ours = false, has_more = false;
    for (size_t at = 0; at < length;) {
        size_t separators = strspn(line + at, SEPARATORS);
        separators = separators < length - at ? separators : length - at;
        memcpy(to, line + at, separators);
        to += separators;
        at += separators;
        if (at == length)
            break;
        size_t entry = line[at] == '#' ? length - at : strcspn(line + at, SEPARATORS);
        if (is_ours(line + at, entry)) {
            has_ours = true;
            at += entry + (at + entry < length && line[at + entry] != '\n');
            continue;
        }
        has_more = true;
        memcpy(to, line + at, entry);
        to += entry;
        at += entry;
    }
    return has_ours && !has_more ? begin : to;
}

static bool is_ours(const char *entry, size_t length)
{
    char *copy = allocate(length + 1);
    memcpy(copy, entry, length);
    bool is = copy[0] != '#' && preload_is_library(copy, "");
    free(copy);
    return is;
}
