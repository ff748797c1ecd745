/* What the doctor finds, one sentence each. */
#ifndef RESIL_FINDINGS_H
#define RESIL_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum finding_weight { FINDING_GOOD, FINDING_NOTE, FINDING_BAD };

struct findings {
    struct finding {
        enum finding_weight weight;
        const char *about; /* "rules", "static": not copied */
        char *text;
    } * items;
    size_t count;
};

void findings_add(struct findings *findings, enum finding_weight weight, const char *about,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));
bool findings_are_bad(const struct findings *findings);
void findings_end(struct findings *findings);

/* "  good  text", in lines of at most 80 columns. */
void findings_print(const struct findings *findings, FILE *to);

struct json_object;
struct json_object *findings_json(const struct findings *findings);

#endif
