#ifndef MISBEHAVE_ECHO_H
#define MISBEHAVE_ECHO_H

#include "connection.h"

/* Mode echo: sends back what it gets, and FIN after the client's. Reads no more while the client does not
 * take it. */
void echo_ready(struct connection *connection, uint32_t events);

#endif
