/* Faults on sockets that are made or accepted: a server under test. */
#ifndef DRIVE_FAULT_ACCEPT_H
#define DRIVE_FAULT_ACCEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "state/faults.h"

/* The program makes a socket, or (`listener` is one that listens) takes a connection. True: it fails, and errno is set. */
bool fault_socket(uintptr_t caller);
bool fault_accept(int listener, uintptr_t caller);

/* It has taken one: what may happen to that. errno is untouched. */
void fault_accepted(int listener, int fd);

#endif
