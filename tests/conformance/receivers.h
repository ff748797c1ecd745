/* The functions that receive, behind one face, and what each of them shows. */
#ifndef RECEIVERS_H
#define RECEIVERS_H

#include "conform.h"

struct request {
    int fd;
    char *data;
    size_t size;
    int flags;
};
struct receiver {
    const char *name;
    bool has_flags;
    /* Makes the call with CALL and says everything that came out of it. */
    void (*make)(const struct request *request);
};
extern const struct receiver receivers[];
extern const size_t receiver_count;

#endif
