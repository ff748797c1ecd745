/* The shared state of this user's programs: one segment for each rule file, found in the state directory.
 *
 * Nothing in a segment is trusted: it may be damaged, and programs change it while we read. */
#ifndef RESIL_SEGMENTS_H
#define RESIL_SEGMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "state/segment.h"

struct segment_file {
    char name[64]; /* of the file, in the state directory */
    dev_t device;
    ino_t inode;
    bool is_there;                 /* at the last scan */
    const struct segment *segment; /* NULL: not fit to be read, which was said */
    struct segment *writable;      /* the same, NULL unless struct segments says are_writable */
    char rules[512 + 1];           /* the rule file's canonical path, printable; BUILT_IN */
    uint64_t next_event;           /* for history.c: what was not read yet */
    unsigned waited;               /* ... and how often that was looked for in vain */
};

struct segments {
    char directory[1100];
    char only[64];     /* the file of the rule file that was asked for; empty: all */
    bool are_writable; /* map them for changes; set it before the first scan */
    bool are_barred;   /* at the last scan the directory was there and could not be used */
    struct segment_file **files;
    size_t count;
};

/* Of one rule file (as --rules names it), or all. Reads nothing yet. */
struct segments segments_begin(const char *rules);

/* Looks what is there now: maps what is new, forgets what is gone. What cannot be read is said on stderr, once. */
void segments_scan(struct segments *segments);

/* How many can be read. */
size_t segments_readable(const struct segments *segments);

void segments_end(struct segments *segments);

/* On stdout: why there is nothing to see, and what to do. */
void segments_explain_nothing(const struct segments *segments);

#endif
