/* Who we are: this process, its settings, its fork and vfork children. */
#ifndef STATE_PROCESS_H
#define STATE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BAD_SWITCHES_MAX 4 /* those that there are */

/* The environment as it was at the start, copied: programs clear or overwrite theirs (nginx clears its workers'). */
struct settings {
    uint64_t seed; /* RESIL_SEED, if has_seed */
    const char *bad_switches
        [BAD_SWITCHES_MAX]; /* names of those that are neither on nor off: they are off, and the user
                                                 * is told. NULL behind the last, if there is room */
    bool has_seed;
    bool is_seed_bad, is_log_bad; /* set to what means nothing: left out, and the user is told */
    bool has_bad;                 /* any of these, or of bad_switches */
    bool is_strict;               /* RESIL_STRICT=1 */
    bool is_early;                /* RESIL_EARLY=1 */
    bool are_faults_armed;        /* RESIL_FAULTS=1, or shadow: */
    bool are_faults_shadow;       /* what they would do is told */
    bool has_inherited;           /* RESIL_INHERITED (drive/inherit.h) */
    bool is_disabled;     /* RESIL_DISABLE=1, or the program runs with privileges that are not its user's */
    char namespaces[80];  /* RESIL_NAMESPACES (state/whereabouts.h); empty: not set, or no such text */
    char program[16];     /* the program's file name, cut; for events */
    char log[1024];       /* RESIL_LOG: "stderr", "off" or a file; empty: off */
    char state_dir[1024]; /* RESIL_STATE_DIR */
    char rules[4096];     /* RESIL_RULES; empty: not set. As the last: it seldom reaches another page */
    char config_home
        [1024]; /* XDG_CONFIG_HOME, or HOME with .config behind it; only where RESIL_RULES is not set */
};
extern struct settings settings;

/* Reads the environment. No allocation, errno untouched. */
void process_begin(char **environment);

/* What RESIL_LOG may be: stderr, off, or a path. Words that look like a switch, and stdout, are none: where the user did
 * not mean a file, none of that name must appear. */
bool process_is_log(const char *value);
/* What RESIL_SEED may be: a whole number of 64 bits. */
bool process_is_seed(const char *value);

/* The file name of the program, at most 255 bytes: what `match.program` is compared with. */
const char *process_program(void);

/* Does the memory belong to this process? False in a vfork child, which shares its parent's: whoever would change
 * shared tables must leave them alone there (python's subprocess closes every descriptor in one). Costs one getpid once the
 * process has made such a child, or where that is not seen. */
bool process_owns_memory(void);

#if defined __x86_64__ || defined __aarch64__
#define PROCESS_SEES_SHARING /* hooks/share.c */
#endif
/* There is, or may be, a child that shares the memory. */
void process_shares(void);

/* In a fork child, before anything else: the memory is its own, though a vfork child of it may be the first to ask. */
void process_forked(void);

/* Is this the process that read the rules, and not a fork child of it? */
bool process_is_original(void);

/* The process id without a system call, once process_owns_memory was asked (a vfork child reads its parent's). */
pid_t process_id(void);

/* Does no such process run (any more)? Only in our pid namespace; false where it cannot be told. */
bool process_is_gone(pid_t pid);

/* A number for random decisions that differs from call to call, thread to thread and process to process, unless
 * RESIL_SEED is set: then it differs from call to call only. */
uint64_t process_next_seed(void);
uint64_t process_next_seed_at(uint64_t now_ns); /* by who knows what time it is */

#endif
