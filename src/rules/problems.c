#include "rules/problems.h"

#include <string.h>

#define QUOTED_MAX   40 /* bytes of the file in one message */
#define WORD_MAX     32 /* longer words are no slips of the pen */
#define DISTANCE_MAX 3

static bool is_not_after(const struct problem *a, const struct problem *b);
static bool is_same(const struct problem *a, const struct problem *b);
static unsigned edit_distance(const char *a, const char *b);

void problem_add(struct problems *problems, enum problem_kind kind, uint32_t line, uint32_t column,
                 const char *format, ...)
{
    struct problem problem = {.kind = kind, .line = line, .column = column, .file = problems->now.file};
    if (problems->now.path) {
        struct text path = text_begin(problem.path, sizeof problem.path);
        text_add(&path, "%s", problems->now.path);
    }
    struct text text = text_begin(problem.text, sizeof problem.text);
    va_list arguments;
    va_start(arguments, format);
    text_add_list(&text, format, arguments);
    va_end(arguments);
    uint32_t at = 0; /* where it belongs, so that a reader can go through the file from the top */
    while (at < problems->count && is_not_after(&problems->items[at], &problem))
        if (is_same(&problems->items[at++], &problem))
            return;
    if (problems->count < PROBLEMS_MAX) {
        memmove(&problems->items[at + 1], &problems->items[at], (problems->count - at) * sizeof problem);
        problems->items[at] = problem;
        problems->count++;
    }
    if (kind == PROBLEM_ERROR)
        problems->errors++;
    else
        problems->warnings++;
}

static bool is_not_after(const struct problem *a, const struct problem *b)
{
    if (a->file != b->file)
        return a->file < b->file;
    return a->line != b->line ? a->line < b->line : a->column <= b->column;
}

static bool is_same(const struct problem *a, const struct problem *b)
{
    return a->file == b->file && a->line == b->line && a->column == b->column &&
           strcmp(a->text, b->text) == 0;
}

struct quoted quote(const char *bytes, size_t length)
{
    struct quoted result;
    struct text text = text_begin(result.text, sizeof result.text);
    size_t shown = length;
    if (length > QUOTED_MAX)
        for (shown = QUOTED_MAX; shown > 0 && ((unsigned char)bytes[shown] & 0xc0) == 0x80; shown--)
            ; /* not in the middle of a character */
    text_add(&text, "\"");
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)bytes[i];
        bool is_c1 = c == 0xc2 && i + 1 < shown && (unsigned char)bytes[i + 1] < 0xa0;
        text_add(&text, "%c", c < 0x20 || c == 0x7f || is_c1 ? '?' : c);
        i += is_c1;
    }
    text_add(&text, "%s\"", shown < length ? "..." : "");
    return result;
}

const char *nearest_name(const char *word, const char *const *names)
{
    size_t length = strnlen(word, WORD_MAX + 1);
    if (length < 2 || length > WORD_MAX)
        return NULL;
    /* Of a short word something must remain, or any other short word would be near it. */
    unsigned limit = length <= DISTANCE_MAX ? (unsigned)length - 1 : DISTANCE_MAX;
    const char *nearest = NULL;
    for (; *names; names++) {
        unsigned distance = edit_distance(word, *names);
        if (distance <= limit) {
            limit = distance - (distance > 0);
            nearest = *names;
        }
    }
    return nearest;
}

void add_names(struct text *text, const char *const *names)
{
    for (size_t i = 0; names[i]; i++)
        text_add(text, "%s%s", i ? ", " : "", names[i]);
}

/* Letters to insert, delete or replace; b is one of our own names, at most WORD_MAX long. */
static unsigned edit_distance(const char *a, const char *b)
{
    unsigned row[WORD_MAX + 1];
    size_t width = strnlen(b, WORD_MAX);
    for (unsigned j = 0; j <= width; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= width; j++) {
            unsigned replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            unsigned moved = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = replaced < moved ? replaced : moved;
        }
    }
    return row[width];
}
