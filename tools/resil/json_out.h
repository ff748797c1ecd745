/* JSON for machines: json-c, and how we write it. */
#ifndef RESIL_JSON_OUT_H
#define RESIL_JSON_OUT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* A new object, or the end of the program. */
struct json_object *json_new(void);

void json_add_text(struct json_object *object, const char *key, const char *text); /* NULL: null */
void json_add_number(struct json_object *object, const char *key, uint64_t number);
void json_add_bool(struct json_object *object, const char *key, bool value);

/* A duration in milliseconds, with up to three decimals. */
void json_add_ms(struct json_object *object, const char *key, uint64_t ns);

/* Prints the object, a newline behind it, and forgets it. On one line, or for people to read as well. */
void json_print_line(struct json_object *object, FILE *to);
void json_print(struct json_object *object, FILE *to);

#endif
