#ifndef MISBEHAVE_LISTENER_H
#define MISBEHAVE_LISTENER_H

#include "problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* The port. From open to close it stays reserved, on one socket, whatever state it is in: nobody else can
 * get it in between, and neither accepted connections nor TIME_WAIT are in the way. */
struct listener {
    int fd;
    bool is_listening;
    struct sockaddr_storage address;
    socklen_t address_size;
    /* The connections of our own that keep the backlog of a black hole full. */
    int fillers[4];
    size_t filler_count;
};

/* `text` is ADDR:PORT or [ADDR]:PORT, numeric; port 0: the kernel chooses. Refuses at first. */
bool listener_open(struct listener *listener, const char *text, struct problem *problem);
void listener_close(struct listener *listener);

/* Turns clients away with ECONNREFUSED; those whom listener_take has not yet taken get RST. */
void listener_refuse(struct listener *listener);

/* Lets clients in. They are there as soon as listener_take says so. */
bool listener_accept(struct listener *listener, struct problem *problem);

/* Leaves clients without an answer. */
bool listener_blackhole(struct listener *listener, struct problem *problem);

/* The next client's descriptor, non-blocking; -1 with errno if there is none. */
int listener_take(struct listener *listener);

unsigned listener_port(const struct listener *listener);

/* ADDR:PORT or [ADDR]:PORT. */
void listener_print(const struct listener *listener, char *buffer, size_t size);

#endif
