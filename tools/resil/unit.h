/* A service of systemd's: where it is described, and the file by which libresil is added to it. */
#ifndef RESIL_UNIT_H
#define RESIL_UNIT_H

#include <limits.h>
#include <stdbool.h>

#define UNIT_FOLDER  "/etc/systemd/system" /* where the machine's owner adds to units */
#define UNIT_DROP_IN "50-libresil.conf"

struct unit {
    char name[256];          /* with .service */
    char fragment[PATH_MAX]; /* the file that describes it */
    char drop_in[PATH_MAX];  /* ours, whether it is there or not */
};

/* False: that is no name of a service. */
bool unit_name(const char *word, struct unit *unit);

/* Finds the fragment. False: there is no such service. */
bool unit_find(struct unit *unit);

/* Where the unit sets LD_PRELOAD already, as "FILE:LINE"; NULL: nowhere but in our file. */
char *unit_preload_place(const struct unit *unit);

/* The program that it starts, NULL where that cannot be told. */
char *unit_program(const struct unit *unit);

/* Calls back with each of our files that is there. */
void unit_drop_ins(void (*found)(const char *path, void *data), void *data);

/* What systemd-analyze says about our file; NULL: nothing, or there is no systemd-analyze. */
char *unit_complaint(const struct unit *unit);

#endif
