/* How long the resolver in libc waits, which is a matter of each thread (`_res`).
 *
 * It waits retrans seconds for each server, retry times over, for each candidate that the search list makes of a name:
 * whole seconds, at least one each. */
#ifndef DRIVE_RESOLVER_SETTINGS_H
#define DRIVE_RESOLVER_SETTINGS_H

#include <resolv.h>
#include <stdbool.h>
#include <stdint.h>

struct resolver_plan {
    int retrans, retry;
    uint64_t takes_ns; /* a lookup under it, at most */
};

/* The settings for a lookup of `name` in at most `left_ns`; where that is too short for them, the shortest there are.
 * False: the resolver cannot be set up. */
bool resolver_plan(const char *name, uint64_t left_ns, struct resolver_plan *plan);

/* Puts the plan in force for this thread until resolver_restore. A lookup may never return (siglongjmp out of a signal
 * handler): then the next one's resolver_restore puts back what was before. */
void resolver_apply(const struct resolver_plan *plan);
void resolver_restore(void);

/* What the program may have changed in its thread's settings (options, servers, search list), for another thread. */
struct resolver_copy {
    bool is_made; /* the thread has looked up or changed anything yet */
    unsigned long options;
    unsigned ndots;
    int retrans, retry, servers;
    struct sockaddr_in server[MAXNS];
    char search[256]; /* the domains, each with its zero */
    unsigned domains;
};
void resolver_copy(struct resolver_copy *copy);
/* In a new thread, before its first lookup. */
void resolver_adopt(const struct resolver_copy *copy);

#endif
