#ifndef MISBEHAVE_EXCHANGE_H
#define MISBEHAVE_EXCHANGE_H

#include "connection.h"

/* Requests and their answers, good, late, slow, cut or missing: every mode but echo. */
void exchange_begin(struct connection *connection);
void exchange_ready(struct connection *connection, uint32_t events);
void exchange_due(struct connection *connection);

/* Takes note of input; begins to answer if it completes a request. */
void exchange_received(struct connection *connection, const char *bytes, size_t size);

/* Answers the requests that are held back on this connection. */
void exchange_release(struct connection *connection);

#endif
