#ifndef MISBEHAVE_DRAIN_H
#define MISBEHAVE_DRAIN_H

#include "connection.h"

/* Mode drain, until a request is in: reads it at the mode's rate. The answer is exchange.c's. */
void drain_begin(struct connection *connection);
void drain_ready(struct connection *connection);
void drain_due(struct connection *connection);

#endif
