/* Runs a program as a child, as if it had taken our place. */
#ifndef RESIL_ATTEND_H
#define RESIL_ATTEND_H

/* What becomes of it: its exit status, as waitpid gives it; -1: it could not be begun, and errno says why. Signals that are
 * sent to us are handed on to it. */
int attend(char **program);

/* Ends as it has ended. */
int attend_end_alike(int status);

#endif
