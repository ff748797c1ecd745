/* Where and in which life of the machine this process runs: times and process ids of others mean nothing to us unless
 * all of it agrees. */
#ifndef STATE_WHEREABOUTS_H
#define STATE_WHEREABOUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct whereabouts {
    char boot_id[40];                       /* empty: out of reach */
    uint64_t pid_namespace, time_namespace; /* 0: out of reach */
};
void whereabouts_find(struct whereabouts *here);
void whereabouts_find_namespaces(struct whereabouts *here); /* and no boot id */

/* Was it written in this life of the machine? By the boot ids of whoever wrote it and of the reader; where one of them is
 * empty (a service with ProcSubset=pid, a /proc that is partly hidden) by when the file was changed last, as `status` tells;
 * NULL: nobody can tell, and it is believed. */
struct stat;
bool whereabouts_are_of_one_life(const char written[40], const char here[40], const struct stat *status);

/* Files in /proc cost each program that starts more than all else that it does to get at the state. So what `resil run`
 * has found is passed on in RESIL_NAMESPACES, and whoever starts looks only whether that still holds: /proc is the same
 * one, in which this process has the number that it has for itself, and the clock is as far from the kernel's own count
 * of ticks as it was there. In a namespace where /proc is the outer one's the two numbers may happen to be the same: what
 * was taken from there is to be compared with what whereabouts_find says, once that can be afforded. */
#define WHEREABOUTS_BYTES 80
bool whereabouts_pass_on(char text[WHEREABOUTS_BYTES]);
bool whereabouts_take(const char *text,
                      struct whereabouts *here); /* false: it does not hold, or is no such text */

#endif
