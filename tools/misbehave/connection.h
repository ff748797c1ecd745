#ifndef MISBEHAVE_CONNECTION_H
#define MISBEHAVE_CONNECTION_H

#include "loop.h"
#include "mode.h"
#include "request.h"

#include <sys/types.h>

enum phase {
    PHASE_RECEIVING, /* reads; nothing to answer yet */
    PHASE_HOLDING,   /* a request waits for its delay or its release */
    PHASE_SENDING,
    PHASE_RESETTING, /* all is sent; RST as soon as the client's kernel has it */
    PHASE_LINGERING, /* FIN sent; reads on, so that unread input does not turn it into RST */
    PHASE_ENDED,
};

/* A client's connection. Keeps the mode under which it was accepted. */
struct connection {
    struct source source;
    struct timer timer; /* what for depends on mode and phase: never two at once */
    struct connection *next, *previous;
    struct mode *mode;
    enum phase phase;

    /* exchange.c */
    struct request request;
    uint32_t unanswered; /* whole requests waiting for their turn */
    uint32_t released;   /* how many of them need not be held */
    uint64_t sent;       /* of the current answer */
    uint64_t allowed;    /* how far it may be sent by now */
    uint64_t send_size;

    /* echo.c */
    char *echo; /* what the client does not take at the moment, NULL if nothing */
    size_t echo_size, echo_sent;
};

/* Takes over the accepted descriptor. */
void connection_begin(int fd, struct mode *mode);

/* Closes it and takes it out of the count. The structure stays readable until the loop's batch is over. */
void connection_end(struct connection *connection);

/* Reads and counts. Returns bytes, 0 if there is nothing now, or -1 if nothing will come any more. */
ssize_t connection_read(struct connection *connection, char *buffer, size_t size);

/* Sends. Returns bytes, 0 if there is no room now, or -1 if the client is gone. */
ssize_t connection_send(struct connection *connection, const char *bytes, size_t size);

/* loop_watch; ends the connection if that cannot be had. */
void connection_watch(struct connection *connection, uint32_t events);

/* Answers all that `hold` and `answer --delay` hold back. */
void connections_release(void);

void connections_end(void);

/* All input passes through this buffer: there is one thread, and nothing is kept in it between events. */
extern char connection_input[65536];

/* A rate as a number of bytes at regular intervals. */
struct pace {
    uint64_t piece_bytes;
    uint64_t interval_ns;
};

struct pace pace_of(uint64_t bytes_per_second);

/* Sets the timer for the next piece after the one that was due, without drifting. */
void pace_next(struct connection *connection, const struct pace *pace);

#endif
