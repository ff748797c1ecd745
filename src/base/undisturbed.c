#include "base/undisturbed.h"

#include <errno.h>
#include <pthread.h>

void undisturbed_begin(struct undisturbed *before)
{
    sigset_t all;
    sigfillset(&all);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before->cancelling);
    pthread_sigmask(SIG_BLOCK, &all, &before->mask);
}

void undisturbed_end(const struct undisturbed *before)
{
    int error = errno, disabled;
    pthread_sigmask(SIG_SETMASK, &before->mask, NULL);
    pthread_setcancelstate(before->cancelling, &disabled);
    errno = error;
}
