/* Builds text in a buffer of the caller's: no allocation, no locale, no stdio, safe in a signal handler.
 * Too little room cuts the text; the buffer is always terminated. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *buffer;
    size_t capacity; /* with the terminating zero; at least 1 */
    size_t length;
};

struct text text_begin(char *buffer, size_t capacity);

/* Appends. Knows %s (NULL prints "(none)"), %.*s, %c, %%, and %d, %u, %x, also with l, ll or z; no widths. */
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_add_list(struct text *text, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

/* A time of day as 2026-01-02T03:04:05.678Z, given as nanoseconds since 1970. */
struct time_text {
    char text[32];
};
struct time_text time_text(uint64_t realtime_ns);

/* A duration as people write it: 43ms, 1.5s, 2m, 24h, 250us; at most three significant digits. */
struct duration_text {
    char text[24];
};
struct duration_text duration_text(uint64_t ns);

#endif
