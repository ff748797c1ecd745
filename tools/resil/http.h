/* One page over HTTP, for whoever asks. */
#ifndef RESIL_HTTP_H
#define RESIL_HTTP_H

#include <stdbool.h>
#include <stddef.h>

/* Makes the page for a client that accepts these media types (NULL: it does not say). Gives its text, to be freed, and
 * what type that is. */
typedef char *http_page(const char *accept, const char **type, size_t *size, void *context);

/* Serves it at /metrics of "127.0.0.1:9911" or "[::1]:9911", until interrupted. Gives the exit status. */
int http_serve(const char *address, http_page *page, void *context);

#endif
