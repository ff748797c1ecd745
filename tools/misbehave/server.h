#ifndef MISBEHAVE_SERVER_H
#define MISBEHAVE_SERVER_H

#include "listener.h"
#include "mode.h"

/* The port together with the mode that is in force on it. */

/* How many connections it holds at once; more wait in the backlog. */
#define SERVER_MOST_CONNECTIONS 20000

/* `most_connections`: what the limit on descriptors allows, up to the above. */
bool server_open(const char *address, size_t most_connections, struct problem *problem);
void server_close(void);

/* Takes the mode over and puts it in force: for clients that come from now on. If that fails, clients are
 * refused. */
bool server_switch(struct mode *mode, struct problem *problem);

const struct listener *server_listener(void);

#endif
