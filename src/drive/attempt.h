/* One attempt of a blocking connect, and what the drivers share for it. */
#ifndef DRIVE_ATTEMPT_H
#define DRIVE_ATTEMPT_H

#include <signal.h>

#include "drive/connect.h"

/* What an attempt came to. */
enum ended {
    ENDED,             /* connected or failed: `error` */
    ENDED_CUT,         /* our time for it was over; it has been taken back */
    ENDED_IN_FLIGHT,   /* begun, and going on in the kernel */
    ENDED_INTERRUPTED, /* the same, and a handler without SA_RESTART ran: the program gets EINTR */
    ENDED_OWN_TIMEOUT, /* the same, and the program's own SO_SNDTIMEO is over: its answer is `error` */
};
struct attempt {
    enum ended how;
    int error;
};

/* Sends the SYN and comes back: ENDED or ENDED_IN_FLIGHT. Signals are blocked. */
struct attempt attempt_start(struct connecting *call);

/* Waits for an attempt that is in flight, with the signals of `mask` let in. */
struct attempt attempt_wait(struct connecting *call, uint64_t until_ns, uint64_t own_until_ns,
                            const sigset_t *mask);

/* Sets SO_SNDTIMEO, where it has another value. */
void attempt_set_send_option(struct connecting *call, uint64_t ns);

#endif
