/* What a program is, as far as it decides whether libresil can work in it. */
#ifndef RESIL_PROGRAM_H
#define RESIL_PROGRAM_H

#include <limits.h>
#include <stdbool.h>

/* Finds the program as execvp would. 0, or the exit status with which env(1) would end, errno saying why. */
int program_find(const char *name, char path[PATH_MAX]);

struct program {
    enum { PROGRAM_OTHER, PROGRAM_ELF, PROGRAM_SCRIPT } kind;
    /* Of a script: */
    char interpreter[PATH_MAX]; /* behind #!; what env looks up where that is env. Empty: not found */
    /* Of an ELF file: */
    int class, machine;   /* ELFCLASS*, EM_* */
    bool has_interpreter; /* PT_INTERP: a loader that knows LD_PRELOAD. Without it the program is static */
    char loader[256];     /* which */
    bool is_musl;
    bool is_go;
    bool needs_nothing;    /* no library, not even libc */
    bool is_libresil;      /* a library that calls itself so */
    bool gains_privileges; /* setuid, setgid or capabilities that the user does not have */
};

/* False when the file cannot be read: there is nothing to say about it. */
bool program_read(const char *path, struct program *program);

/* "64-bit x86-64" */
struct machine_text {
    char text[40];
};
struct machine_text program_machine(const struct program *program);

#endif
