#include "json_out.h"

#include "base/clock.h"
#include "message.h"

static void print(struct json_object *object, int flags, FILE *to);

struct json_object *json_new(void)
{
    struct json_object *object = json_object_new_object();
    return object ? object : allocate(SIZE_MAX); /* which says so, and ends */
}

void json_add_text(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, text ? json_object_new_string(text) : NULL);
}

void json_add_number(struct json_object *object, const char *key, uint64_t number)
{
    json_object_object_add(object, key, json_object_new_uint64(number));
}

void json_add_bool(struct json_object *object, const char *key, bool value)
{
    json_object_object_add(object, key, json_object_new_boolean(value));
}

void json_add_ms(struct json_object *object, const char *key, uint64_t ns)
{
    char digits[40];
    unsigned rest = (unsigned)(ns % NS_PER_MS / NS_PER_US);
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)(ns / NS_PER_MS));
    if (rest)
        snprintf(digits + length, sizeof digits - (size_t)length, ".%03u", rest);
    json_object_object_add(object, key, json_object_new_double_s((double)ns / NS_PER_MS, digits));
}

void json_print_line(struct json_object *object, FILE *to)
{
    print(object, JSON_C_TO_STRING_PLAIN, to);
}

void json_print(struct json_object *object, FILE *to)
{
    print(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED, to);
}

static void print(struct json_object *object, int flags, FILE *to)
{
    fprintf(to, "%s\n", json_object_to_json_string_ext(object, flags | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(object);
}
