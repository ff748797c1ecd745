#include "request.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static size_t skip_body(struct request *request, size_t available);
static bool take_byte(struct request *request, char byte);
static bool end_line(struct request *request);

struct request_progress request_feed(struct request *request, const char *bytes, size_t size)
{
    struct request_progress progress = {0, 0};
    const char *end = bytes + size;
    while (bytes < end && !(request->is_endless && request->is_in_body)) {
        if (request->is_in_body) {
            bytes += skip_body(request, (size_t)(end - bytes));
        } else {
            if (!take_byte(request, *bytes++))
                continue;
            request->is_in_body = true;
            progress.begun++;
        }
        if (request->is_endless) {
            progress.whole++;
        } else if (request->body_left == 0) {
            request->is_in_body = false;
            progress.whole++;
        }
    }
    return progress;
}

static size_t skip_body(struct request *request, size_t available)
{
    if (available > request->body_left)
        available = (size_t)request->body_left;
    request->body_left -= available;
    return available;
}

/* Returns whether this byte ended the request's head. */
static bool take_byte(struct request *request, char byte)
{
    if (byte == '\n')
        return end_line(request);
    if (request->line_size < sizeof request->line)
        request->line[request->line_size] = byte;
    request->line_size++;
    return false;
}

/* The value if the line is `name: value`, otherwise NULL. name is in lower case, with its colon. */
static const char *header_value(const char *line, const char *name)
{
    size_t length = strlen(name);
    if (strncasecmp(line, name, length) != 0)
        return NULL;
    return line + length + strspn(line + length, " \t");
}

/* Garbage reads as 0, and what is too large as very large: nothing a client says is an error here. */
static uint64_t read_length(const char *text)
{
    uint64_t length = 0;
    for (; isdigit((unsigned char)*text) && length < UINT64_MAX / 16; text++)
        length = length * 10 + (uint64_t)(*text - '0');
    return length;
}

/* Returns whether this was the blank line. */
static bool end_line(struct request *request)
{
    char line[sizeof request->line + 1];
    size_t size = request->line_size < sizeof request->line ? request->line_size : sizeof request->line;
    memcpy(line, request->line, size);
    line[size] = '\0';
    request->line_size = 0;
    if (size == 0 || strcmp(line, "\r") == 0) {
        /* Some clients send an empty line after a POST's body: before a request it means nothing. */
        bool was_begun = request->is_begun;
        request->is_begun = false;
        return was_begun;
    }
    const char *value;
    if (!request->is_begun) {
        request->is_begun = true;
        request->body_left = 0;
        request->is_endless = false;
        request->is_head = strncmp(line, "HEAD ", 5) == 0;
    } else if ((value = header_value(line, "content-length:"))) {
        request->body_left = read_length(value);
    } else if ((value = header_value(line, "transfer-encoding:"))) {
        request->is_endless = strncasecmp(value, "chunked", 7) == 0;
    }
    return false;
}
