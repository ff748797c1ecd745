/* Parking: a descriptor that is between two attempts is kept in a silent SYN_SENT, so that the kernel itself tells every
 * waiter, seen or unseen, that it is still connecting.
 *
 * It asks for a port of loopback that nobody can listen on, and drops the refusals because they have not come from far
 * enough (IP_MINTTL, IPV6_MINHOPCOUNT). Nothing leaves the machine. */
#ifndef DRIVE_PARK_H
#define DRIVE_PARK_H

#include <stdbool.h>
#include <sys/socket.h>

/* Parks a TCP descriptor that was to be connected to `address`. `saved_hops` gets the program's own value of the option.
 * False: parking does not hold here (no loopback, another route); the descriptor is then not connected. */
bool park(int fd, const struct sockaddr *address, int *saved_hops);

/* Puts the option back and ends the parking: the descriptor is as one that was never connected. */
bool unpark(int fd, const struct sockaddr *address, int saved_hops);

/* Puts the option back and nothing else, for a program that is done with the descriptor: to the kernel it is still
 * connecting. Should anybody else have a copy, that one is refused within a second. */
void stay_parked(int fd, const struct sockaddr *address, int saved_hops);

/* Is that the option that keeps it silent? */
bool park_uses(const struct sockaddr *address, int level, int option);

#endif
