/* A stretch of work that a thread finishes once it has begun it: no signal handler runs meanwhile and could jump out of
 * it, and the thread is not cancelled. For what happens once in a while; costs two system calls. */
#ifndef BASE_UNDISTURBED_H
#define BASE_UNDISTURBED_H

#include <signal.h>

struct undisturbed {
    sigset_t mask;
    int cancelling;
};
void undisturbed_begin(struct undisturbed *before);
void undisturbed_end(const struct undisturbed *before); /* errno is untouched */

#endif
