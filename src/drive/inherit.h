/* Guarded sockets that another program gets while this one keeps them: from a fork or vfork child that executes it, or by
 * posix_spawn. The socket's timeouts are ours, and taking them off would take them off this process too. So the other
 * program is told of them, in an environment variable that its own libresil takes away before main; there they end no wait,
 * and are not seen. */
#ifndef DRIVE_INHERIT_H
#define DRIVE_INHERIT_H

#include <stdbool.h>
#include <stddef.h>

/* The variable with its value; empty: there is nothing to tell. */
struct note {
    char text[1024];
};

/* How the other program comes to be. */
enum becoming {
    EXECUTED, /* this process becomes it; transfer_hand_over_all was asked before */
    SPAWNED,
};
void inherit_note(struct note *note, enum becoming becoming);

/* How many pointers an environment has with that note, the last one included; 0 if the note is empty, or if who gets that
 * environment would not understand it. */
size_t inherit_count(char *const environment[], const struct note *note);
void inherit_fill(char **to, char *const environment[], struct note *note);

/* Before main: what this process was told. The variable is taken away. */
void inherit_begin(char **environment);

#endif
