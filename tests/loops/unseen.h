/* What the programs here do beside their loops, in system calls of their own, so that no hook sees it; and what they have in
 * common. */
#ifndef TESTS_LOOPS_UNSEEN_H
#define TESTS_LOOPS_UNSEEN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Ends the program with status 2, saying what could not be done, and errno. */
void die(const char *what) __attribute__((noreturn));

/* CLOCK_MONOTONIC. */
uint64_t now_ns(void);
uint64_t now_ms(void);

void pause_us(unsigned us);

/* Is that thread of the process asleep in the kernel? */
bool is_asleep(pid_t process, pid_t thread);

/* A socket that is bound to the address `where` ("127.x.y.z"), at a port that nobody has; `address` becomes what to connect to. */
int bind_unseen(int type, const char *where, struct sockaddr_in *address);

#endif
