#include "findings.h"

#include <stdarg.h>
#include <stdlib.h>

#include "json_out.h"
#include "message.h"
#include "wrap.h"

#define INDENT 6

static const char *const words[] = {[FINDING_GOOD] = "good", [FINDING_NOTE] = "note", [FINDING_BAD] = "BAD"};

void findings_add(struct findings *findings, enum finding_weight weight, const char *about,
                  const char *format, ...)
{
    va_list arguments;
    char *text = NULL;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = copy_of("");
    va_end(arguments);
    findings->items = grow(findings->items, (findings->count + 1) * sizeof *findings->items);
    findings->items[findings->count++] = (struct finding){.weight = weight, .about = about, .text = text};
}

bool findings_are_bad(const struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++)
        if (findings->items[i].weight == FINDING_BAD)
            return true;
    return false;
}

void findings_end(struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++)
        free(findings->items[i].text);
    free(findings->items);
    *findings = (struct findings){.count = 0};
}

void findings_print(const struct findings *findings, FILE *to)
{
    for (size_t i = 0; i < findings->count; i++) {
        fprintf(to, "%-*s", INDENT, words[findings->items[i].weight]);
        print_wrapped(findings->items[i].text, INDENT, INDENT, to);
    }
}

struct json_object *findings_json(const struct findings *findings)
{
    static const char *const names[] = {
        [FINDING_GOOD] = "good", [FINDING_NOTE] = "note", [FINDING_BAD] = "bad"};
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; i < findings->count; i++) {
        struct json_object *item = json_new();
        json_add_text(item, "result", names[findings->items[i].weight]);
        json_add_text(item, "about", findings->items[i].about);
        json_add_text(item, "text", findings->items[i].text);
        json_object_array_add(list, item);
    }
    return list;
}
