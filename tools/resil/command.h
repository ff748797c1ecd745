/* A sub-command of resil: one file each, listed in main.c. */
#ifndef RESIL_COMMAND_H
#define RESIL_COMMAND_H

#include <sysexits.h>

/* Exit statuses. What callers rely on has the number that others use for it. */
enum {
    STATUS_GOOD = 0,
    STATUS_FOUND = 1,    /* looked, and found something wrong; or found nothing where something was asked */
    STATUS_UNUSABLE = 2, /* could not run: usage, files */
    STATUS_NO_LIBRARY = EX_OSFILE,
    STATUS_BAD_RULES = EX_CONFIG,
    STATUS_NOT_EXECUTABLE = 126, /* as env(1) and shells say it */
    STATUS_NOT_FOUND = 127,
};

/* Each takes the arguments behind `resil`; argv[0] is "resil NAME", as messages begin. Gives the exit status. */
int run_command(int argc, char **argv);
int check_command(int argc, char **argv);
int explain_command(int argc, char **argv);
int status_command(int argc, char **argv);
int log_command(int argc, char **argv);
int doctor_command(int argc, char **argv);
int breaker_command(int argc, char **argv);
int metrics_command(int argc, char **argv);
int top_command(int argc, char **argv);
int report_command(int argc, char **argv);
int enable_command(int argc, char **argv);
int disable_command(int argc, char **argv);
int fault_command(int argc, char **argv);

#endif
