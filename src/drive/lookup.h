/* One lookup of the program, in a form in which it can be made again, and elsewhere. */
#ifndef DRIVE_LOOKUP_H
#define DRIVE_LOOKUP_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum lookup_form { LOOKUP_GETADDRINFO, LOOKUP_GETHOSTBYNAME, LOOKUP_GETHOSTBYNAME_R };

struct lookup {
    enum lookup_form form;
    const char *name;
    bool is_kept;        /* its answer is worth keeping, even if it comes too late ... */
    uint64_t goes_on_ns; /* ... by so much */
    /* getaddrinfo */
    const char *service;
    const struct addrinfo *hints;
    struct addrinfo **answers;
    /* The gethostbyname family */
    int family; /* AF_UNSPEC: the form without one */
    struct hostent **answer;
    /* Those with _r */
    struct hostent *host;
    char *buffer;
    size_t size;
    int *error;       /* as h_errno */
    int result;       /* what it returns */
    uintptr_t caller; /* where the program makes it; 0 = not known */
};

/* The real call. Returns as getaddrinfo does, whatever the form. */
int lookup_make(struct lookup *lookup);

/* Ends it as a real one whose name servers did not answer; returns EAI_AGAIN. */
int lookup_time_out(struct lookup *lookup);

/* Ends it as a real one that failed so; returns `eai`. */
int lookup_fail(struct lookup *lookup, int eai);

/* EAI code for a value of h_errno; 0 for 0. */
int lookup_eai(int error);

/* Copies what `from` points to into `buffer`. False: there is not enough room. */
bool lookup_copy_host(const struct hostent *from, struct hostent *to, char *buffer, size_t size);

#endif
