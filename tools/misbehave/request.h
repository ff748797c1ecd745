#ifndef MISBEHAVE_REQUEST_H
#define MISBEHAVE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Follows HTTP/1.1 requests through a stream of bytes, however it is cut into pieces, without keeping
 * them. Anything is taken for a request: lines up to a blank one, then as much body as Content-Length
 * says. All zero at first. */
struct request {
    char line[48]; /* the beginning of the current line */
    size_t line_size;
    uint64_t body_left;
    bool is_begun;   /* a line has come in */
    bool is_in_body; /* body_left bytes follow */
    bool is_head;    /* the latest request is a HEAD: its answer has no body */
    bool is_endless; /* chunked: where it ends is not looked for, so it can only be the connection's last */
};

struct request_progress {
    uint32_t begun; /* requests that came to their blank line */
    uint32_t whole; /* requests that came in with their body */
};

struct request_progress request_feed(struct request *request, const char *bytes, size_t size);

#endif
