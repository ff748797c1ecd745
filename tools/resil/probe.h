/* Our own program, run as libresil would run any other: proof that interception works here. */
#ifndef RESIL_PROBE_H
#define RESIL_PROBE_H

#include <stdbool.h>

#define PROBE_WORD "doctor-probe" /* the sub-command that the probe is; not for people */

struct probed {
    bool has_run;
    bool is_loaded; /* libresil's functions come first */
    bool is_judged; /* a connect to loopback got what only a rule could have said */
    bool has_loopback;
    char problem[200]; /* why it did not run */
};

/* Connects twice to a port of loopback on which nobody listens, under a rule that opens the circuit at the first failure
 * with an error of its own. Nothing else is touched. */
struct probed probe_run(const char *library);

/* The probe itself. */
int probe_command(int argc, char **argv);

#endif
