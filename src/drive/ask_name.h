/* Asks the name servers where a host is, on behalf of a connect that may wait. getaddrinfo takes locks and memory, and a
 * connect may be made in a signal handler or in the fork child of a program with threads: so this asks by itself. */
#ifndef DRIVE_ASK_NAME_H
#define DRIVE_ASK_NAME_H

#include <signal.h>
#include <stdint.h>

#include "rules/address.h"

enum asked {
    ASKED_FOUND,
    ASKED_IN_VAIN,
    ASKED_INTERRUPTED, /* by a signal that ends calls */
};

/* Until then; `addresses` and `count` are set where it is found. Signals are blocked, and `mask` is the program's: while they
 * are let in no descriptor is open, as handlers may jump out of the call. */
enum asked ask_name(const char *name, uint64_t until_ns, const sigset_t *mask, struct address *addresses,
                    unsigned *count, unsigned most);

#endif
