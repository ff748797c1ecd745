/* A failed IPv4 connect may leave an ICMP error queued that makes the next, good connection report POLLERR for ever. */
#ifndef DRIVE_ERROR_QUEUE_H
#define DRIVE_ERROR_QUEUE_H

#include <sys/socket.h>

/* Empties the queue of a socket that was to be connected to that address: how many errors were in it. A program that asked
 * for the queue (IP_RECVERR) reads it itself. Not a cancellation point. */
int error_queue_drain(int fd, const struct sockaddr *address);

#endif
